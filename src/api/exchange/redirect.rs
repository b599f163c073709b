//! Redirects and links to the next page. Both stay on the host that was asked, for credentials never leave theirs.

use ureq::http::{HeaderMap, StatusCode, Uri, header};

/// Redirects followed for one request.
pub(super) const REDIRECTS_MAX: usize = 5;

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, if it stays on its host: the same host and port, or the same host's way from http to https.
pub(super) fn same_host_redirect(from: &str, headers: &HeaderMap) -> Result<String, String> {
    let location = headers.get(header::LOCATION);
    let location = location.ok_or("a redirect without a Location")?;
    let location = location.to_str();
    on_same_host(from, location.map_err(|_| "a Location that is no text")?)
}

fn on_same_host(from: &str, reference: &str) -> Result<String, String> {
    let (base, to, url) = resolved(from, reference)?;
    if is_same_host(&base, &to) {
        Ok(url)
    } else {
        Err(format!("the way to another host: {}", host(&to)))
    }
}

/// The URL of the page, where a reference leads, and that as a text.
fn resolved(from: &str, reference: &str) -> Result<(Uri, Uri, String), String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let base: Uri = from.parse().map_err(|_| "its own URL")?;
    let no_url = || format!("a way that is no URL: {reference}");
    let url = resolve(&base, reference).ok_or_else(no_url)?;
    let to = url.parse().map_err(|_| no_url())?;
    Ok((base, to, url))
}

/// The same host and port, or the same host's way from http to https.
fn is_same_host(base: &Uri, to: &Uri) -> bool {
    let port = |uri: &Uri| match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("https")) => 443,
        (None, _) => 80,
    };
    let same = to.scheme() == base.scheme() && port(to) == port(base);
    let upgrade = (port(base), port(to)) == (80, 443) && to.scheme_str() == Some("https");
    host(to) == host(base) && (same || upgrade)
}

fn host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_ascii_lowercase()
}

/// RFC 3986 section 5.2, for the references that servers send.
fn resolve(base: &Uri, reference: &str) -> Option<String> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    if reference.starts_with("http://") || reference.starts_with("https://") {
        return Some(reference.to_owned());
    }
    if reference.starts_with("//") {
        return Some(format!("{scheme}:{reference}"));
    }
    let path = match reference {
        "" => return None,
        _ if reference.starts_with('/') => reference.to_owned(),
        _ if reference.starts_with('?') => format!("{}{reference}", base.path()),
        _ => {
            let (directory, _) = base.path().rsplit_once('/')?;
            format!("{directory}/{reference}")
        }
    };
    Some(format!("{scheme}://{authority}{path}"))
}

/// The next page of an answer.
#[derive(Debug, PartialEq)]
pub(super) struct NextPage {
    /// Its URL, on the host that was asked.
    pub(super) url: String,
    /// The scheme, host and port that the API named instead.
    pub(super) elsewhere: Option<String>,
}

/// The next page, of a `Link` header with `rel="next"`. RFC 8288. An API behind a proxy names the host that it knows
/// itself by: its path is followed on the host that was asked, for credentials never leave theirs.
pub(super) fn next_page(from: &str, headers: &HeaderMap) -> Option<Result<NextPage, String>> {
    let values = headers.get_all(header::LINK).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut links = texts.flat_map(links);
    let (target, _) = links.find(|(_, parameters)| is_next(parameters))?;
    Some(resolved(from, target).map(|(base, to, url)| {
        if is_same_host(&base, &to) {
            let elsewhere = None;
            return NextPage { url, elsewhere };
        }
        NextPage {
            url: on_asked_host(&base, &to),
            elsewhere: Some(origin(&to)),
        }
    }))
}

fn on_asked_host(base: &Uri, to: &Uri) -> String {
    // The proxy may have a path of its own before the API's.
    let path = if base.path().ends_with(to.path()) {
        base.path()
    } else {
        to.path()
    };
    let query = to.query().map(|query| format!("?{query}"));
    format!("{}{path}{}", origin(base), query.unwrap_or_default())
}

fn origin(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |it| it.as_str());
    // What stands before the @ may be a password.
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{host}", uri.scheme_str().unwrap_or_default())
}

/// Each link's target and its parameters.
fn links(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, from) = rest.split_once('<')?;
        let (target, after) = from.split_once('>')?;
        // The parameters end where another link begins.
        let end = after.find('<').unwrap_or(after.len());
        let (parameters, left) = after.split_at(end);
        rest = left;
        Some((target, parameters))
    })
}

fn is_next(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else {
            return false;
        };
        let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
        let mut relations = value.split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel")
            && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_one_with_that_relation() {
        let next = |from: &str, link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, link.parse().unwrap());
            next_page(from, &headers)
        };
        let to = |url: &str, elsewhere: Option<&str>| {
            let (url, elsewhere) = (url.to_owned(), elsewhere.map(str::to_owned));
            Some(Ok(NextPage { url, elsewhere }))
        };
        let from = "https://api/x?page=1";
        let github = r#"<https://api/x?page=1>; rel="prev", <https://api/x?page=3>; rel="next", <https://api/x?page=9>; rel="last""#;
        assert_eq!(next(from, github), to("https://api/x?page=3", None));
        let with_comma = "</x?page=2,3>; title=a; rel=next";
        assert_eq!(next(from, with_comma), to("https://api/x?page=2,3", None));
        let several = r#"<?page=2>; rel="last next""#;
        assert_eq!(next(from, several), to("https://api/x?page=2", None));
        assert_eq!(next(from, r#"<https://api/x?page=1>; rel="prev""#), None);
        assert_eq!(next(from, "nonsense"), None);
        for (elsewhere, url) in [
            ("http://api/x?page=2", "https://api/x?page=2"),
            ("https://api:8443/x?page=2", "https://api/x?page=2"),
            ("https://evil/y?page=2", "https://api/y?page=2"),
            ("https://evil/", "https://api/"),
        ] {
            let origin = elsewhere.split('/').take(3).collect::<Vec<_>>().join("/");
            let link = format!("<{elsewhere}>; rel=next");
            assert_eq!(next(from, &link), to(url, Some(&origin)), "{elsewhere}");
        }
        // The proxy's own path stays before the API's.
        assert_eq!(
            next(
                "https://proxy/gitlab/api/v4/jobs?page=1",
                "<https://u:pw@gitlab.local/api/v4/jobs?page=2>; rel=next"
            ),
            to(
                "https://proxy/gitlab/api/v4/jobs?page=2",
                Some("https://gitlab.local")
            )
        );
        assert!(next(from, "<ht tp://x>; rel=next").unwrap().is_err());
    }

    #[test]
    fn redirects_stay_on_their_host() {
        let followed = |from: &str, location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, location.parse().unwrap());
            same_host_redirect(from, &headers)
        };
        let from = "http://api:8080/v1/workflows/7";
        for (location, to) in [
            ("/v2/workflows/7", "http://api:8080/v2/workflows/7"),
            ("8", "http://api:8080/v1/workflows/8"),
            ("?again=1", "http://api:8080/v1/workflows/7?again=1"),
            ("//API:8080/x#part", "http://API:8080/x"),
            ("http://api:8080/y", "http://api:8080/y"),
        ] {
            assert_eq!(followed(from, location).as_deref(), Ok(to), "{location}");
        }
        let upgraded = followed("http://api/x", "https://api/x");
        assert_eq!(upgraded.as_deref(), Ok("https://api/x"));
        for elsewhere in [
            "http://evil/x",
            "http://api:9090/x",
            "https://api:8080/x",
            "//evil/x",
            "http://api:8080@evil/x",
            "https://api/x",
            "ftp://api:8080/x",
            "",
        ] {
            let led = followed(from, elsewhere);
            // What is no absolute URL of ours is a path on the same host, which is harmless.
            assert!(
                led.as_ref()
                    .map_or(true, |url| url.starts_with("http://api:8080/")),
                "{elsewhere}: {led:?}"
            );
        }
        assert!(
            followed("https://api/x", "http://api/x").is_err(),
            "no way back to http"
        );
    }
}
