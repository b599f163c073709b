//! Redirects: where one leads, if it stays on its host, for credentials never leave theirs.

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
    let location = location
        .to_str()
        .map_err(|_| "a Location that is no text")?;
    on_same_host(from, location)
}

fn on_same_host(from: &str, reference: &str) -> Result<String, String> {
    let location = reference.split('#').next().unwrap_or_default();
    let base: Uri = from.parse().map_err(|_| "its own URL")?;
    let url =
        resolve(&base, location).ok_or_else(|| format!("a way that is no URL: {location}"))?;
    let to: Uri = url
        .parse()
        .map_err(|_| format!("a way that is no URL: {location}"))?;
    let port = |uri: &Uri| match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("https")) => 443,
        (None, _) => 80,
    };
    let host = |uri: &Uri| uri.host().unwrap_or_default().to_ascii_lowercase();
    let same = to.scheme() == base.scheme() && port(&to) == port(&base);
    let upgrade = (port(&base), port(&to)) == (80, 443) && to.scheme_str() == Some("https");
    if host(&to) == host(&base) && (same || upgrade) {
        Ok(url)
    } else {
        Err(format!("the way to another host: {}", host(&to)))
    }
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

/// The next page's URL, of a `Link` header with `rel="next"`, if it is on the same host. RFC 8288.
pub(super) fn next_page(from: &str, headers: &HeaderMap) -> Option<Result<String, String>> {
    let values = headers.get_all(header::LINK).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut links = texts.flat_map(links);
    let (target, _) = links.find(|(_, parameters)| is_next(parameters))?;
    Some(on_same_host(from, target))
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
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, link.parse().unwrap());
            next_page("https://api/x?page=1", &headers)
        };
        let to = |url: &str| Some(Ok(url.to_owned()));
        let github = r#"<https://api/x?page=1>; rel="prev", <https://api/x?page=3>; rel="next", <https://api/x?page=9>; rel="last""#;
        assert_eq!(next(github), to("https://api/x?page=3"));
        assert_eq!(
            next("</x?page=2,3>; title=a; rel=next"),
            to("https://api/x?page=2,3")
        );
        assert_eq!(
            next(r#"<?page=2>; rel="last next""#),
            to("https://api/x?page=2")
        );
        assert_eq!(next(r#"<https://api/x?page=1>; rel="prev""#), None);
        assert_eq!(next("nonsense"), None);
        assert!(next("<https://evil/x>; rel=next").unwrap().is_err());
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
