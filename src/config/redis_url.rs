//! URLs of Redis.

use crate::syntax::values::Reason;

/// A URL that the Redis client takes.
pub(crate) fn checked(text: &str) -> Result<String, Reason> {
    const SCHEMES: &[&str] = &["redis", "rediss", "unix", "redis+unix"];
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if !SCHEMES.contains(&scheme) {
        return Err("must begin with redis://, rediss:// or unix://".into());
    }
    if scheme == "rediss" && !cfg!(feature = "tls") {
        return Err("needs TLS, and this farspan was built without the feature 'tls'".into());
    }
    #[cfg(not(feature = "redis"))]
    return Err("needs Redis, and this farspan was built without the feature 'redis'".into());
    #[cfg(feature = "redis")]
    match redis::IntoConnectionInfo::into_connection_info(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("is not a URL such as redis://user:password@host:6379/0".into()),
    }
}

#[cfg(all(test, feature = "redis", feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_one_that_the_redis_client_takes() {
        const SCHEME: &str = "must begin with redis://, rediss:// or unix://";
        const URL: &str = "is not a URL such as redis://user:password@host:6379/0";
        for (text, reason) in [
            ("redis://localhost", None),
            ("rediss://:secret@cache.test:6380/1", None),
            ("unix:///run/redis.sock?db=1&pass=x", None),
            ("localhost:6379", Some(SCHEME)),
            ("http://localhost", Some(SCHEME)),
            ("redis://", Some(URL)),
            ("redis://host/notanumber", Some(URL)),
        ] {
            let expected = reason.map_or_else(|| Ok(text.to_owned()), |it| Err(it.into()));
            assert_eq!(checked(text), expected, "{text}");
        }
        arbtest::arbtest(|unstructured| {
            let _ = checked(unstructured.arbitrary()?);
            Ok(())
        })
        .budget_ms(50);
    }
}
