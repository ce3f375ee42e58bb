//! HTTP with one repository of one registry. Each short body is read to a limit, each answer's status and type is
//! looked at, redirects are followed by our own rules, and credentials go to no one but the registry and the token
//! service it names.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url, redirect};

use super::certificates::Certificates;
use super::challenge::{self, Challenge};
use super::credentials::Credentials;
use super::error::Fault;
use super::redirect::{MAX, next, same_origin};
use super::{Proxies, Timeouts, USER_AGENT};

const MAX_ERROR: usize = 64 << 10;

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Road {
    /// TLS with a certificate we trust.
    Tls,
    /// TLS with any certificate.
    AnyTls,
    /// Plain HTTP.
    Plain,
}

impl Road {
    /// For all but the following.
    pub(super) const SAFE: &'static [Self] = &[Self::Tls];
    /// For this machine, where nobody listens in: plain HTTP, unless the registry wants TLS.
    pub(super) const LOOPBACK: &'static [Self] = &[Self::Plain, Self::Tls];
    /// For registries that are configured so.
    pub(super) const INSECURE: &'static [Self] = &[Self::AnyTls, Self::Plain];

    pub(super) fn scheme(self) -> &'static str {
        if self == Self::Plain { "http" } else { "https" }
    }

    /// Whether the failure of this road is a reason to try the next.
    fn is_wrong_for(self, fault: &Fault) -> bool {
        match self {
            // what servers of TLS say to those who come without
            Self::Plain => matches!(fault, Fault::Status { code: 400, .. } | Fault::Cut { got: 0, .. }),
            _ => matches!(fault, Fault::Tls(_) | Fault::Connect(_)),
        }
    }
}

/// Where a repository is, and what it takes to be let in.
pub(super) struct Location {
    /// Host and optional port to connect to.
    pub(super) host: String,
    pub(super) repository: String,
    /// At least one, tried in this order.
    pub(super) roads: &'static [Road],
    pub(super) login: Credentials,
    pub(super) certificates: Certificates,
}

/// HTTP with one repository of one registry.
pub(super) struct Http {
    /// For the registry itself.
    own: Client,
    /// For where it redirects to and for its token service.
    others: Client,
    location: Location,
    /// Which of the roads is the right one, as far as known.
    road: AtomicUsize,
    idle: Duration,
    /// What the registry wanted to see when it last asked.
    authorization: Mutex<Credentials>,
}

impl Http {
    pub(super) fn new(location: Location, proxies: &Proxies, timeouts: &Timeouts) -> Result<Self, Fault> {
        // the TLS library must know its provider before any client is made; only the first one counts
        let _ = rustls::crypto::ring::default_provider().install_default();
        let idle = timeouts.idle;
        let build = |builder: ClientBuilder| {
            let builder = builder
                .user_agent(USER_AGENT)
                .connect_timeout(timeouts.connect)
                .read_timeout(idle)
                .redirect(redirect::Policy::none());
            let builder = proxies.give(location.certificates.trust(builder));
            builder.build().map_err(|error| Fault::of_http(error, 0, None, idle))
        };
        let insecure = location.roads.contains(&Road::AnyTls);
        let own = Client::builder().tls_danger_accept_invalid_certs(insecure);
        let own = build(location.certificates.identify(own))?;
        let others = match insecure || location.certificates.identity.is_some() {
            true => build(Client::builder())?,
            false => own.clone(),
        };
        Ok(Self { own, others, location, road: AtomicUsize::new(0), idle, authorization: Mutex::default() })
    }

    /// What is sent along as authorization now.
    pub(super) fn authorization(&self) -> MutexGuard<'_, Credentials> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether we have no credentials for this registry.
    pub(super) fn anonymous(&self) -> bool {
        matches!(self.location.login, Credentials::Anonymous)
    }

    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// The road that is known to be right, or else the first.
    pub(super) fn road(&self) -> Road {
        self.location.roads[self.road.load(Ordering::Relaxed)]
    }

    pub(super) fn login(&self) -> &Credentials {
        &self.location.login
    }

    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// Asks for `path` of the repository; when the registry asks back who we are, tells it and asks again.
    /// Gives successful answers only.
    pub(super) async fn ask(&self, method: Method, path: &str, accept: &str) -> Result<Response, Fault> {
        self.ask_from(method, path, accept, 0).await
    }

    /// The same from byte `start` on, if the registry can do that: the answer's status tells.
    pub(super) async fn ask_from(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        start: u64,
    ) -> Result<Response, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap_or(HeaderValue::from_static("*/*")));
        if start > 0 {
            headers.insert(RANGE, HeaderValue::try_from(format!("bytes={start}-")).map_err(cause)?);
        }
        let path = format!("{}/{path}", self.location.repository);
        let scope = format!("repository:{}:pull", self.location.repository);
        self.travel(method, &path, &headers, Some(&scope)).await
    }

    /// Asks the registry whether it lets us in at all (distribution-spec, "Determining Support").
    pub(super) async fn knock(&self) -> Result<(), Fault> {
        self.travel(Method::GET, "", &HeaderMap::new(), None).await.map(drop)
    }

    /// Takes the road that is known to be right, else one after the other.
    pub(super) async fn travel(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        scope: Option<&str>,
    ) -> Result<Response, Fault> {
        let mut number = self.road.load(Ordering::Relaxed);
        let mut first: Option<Fault> = None;
        loop {
            let road = self.location.roads[number];
            let result = self.exchange(road, method.clone(), path, headers, scope).await;
            match (result, first) {
                (Err(fault), None) if number + 1 < self.location.roads.len() && road.is_wrong_for(&fault) => {
                    first = Some(fault);
                    number += 1;
                }
                // it was the right one, then
                (Err(fault), Some(first)) if road == Road::Tls && is_no_road(&fault) => {
                    return Err(first);
                }
                (result, _) => {
                    if !result.as_ref().is_err_and(is_no_road) {
                        self.road.store(number, Ordering::Relaxed);
                    }
                    return result;
                }
            }
        }
    }

    async fn exchange(
        &self,
        road: Road,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        scope: Option<&str>,
    ) -> Result<Response, Fault> {
        let url = format!("{}://{}/v2/{path}", road.scheme(), self.location.host);
        let url = Url::parse(&url).map_err(cause)?;
        let shown = self.authorization().clone();
        let mut response = self.send(method.clone(), url.clone(), headers, &shown).await?;
        // who is asked elsewhere is not asked by the registry
        if response.status() == StatusCode::UNAUTHORIZED
            && same_origin(response.url(), &url)
            && let Some(authorization) = self.answer(road, response.headers(), scope).await?
        {
            *self.authorization() = authorization.clone();
            response = self.send(method, url, headers, &authorization).await?;
        }
        self.succeeded(response).await
    }

    /// What to send to a registry that asks with these headers; `None` when we have nothing it wants.
    pub(super) async fn answer(
        &self,
        road: Road,
        headers: &HeaderMap,
        scope: Option<&str>,
    ) -> Result<Option<Credentials>, Fault> {
        let values = headers.get_all(WWW_AUTHENTICATE).into_iter().filter_map(|value| value.to_str().ok());
        let mut basic = false;
        for challenge in challenge::parse(values) {
            match challenge {
                Challenge::Bearer { realm, service } => {
                    return self.token(road, realm.as_deref(), service, scope).await.map(Some);
                }
                Challenge::Basic => basic = true,
            }
        }
        let login = self.login();
        Ok((basic && matches!(login, Credentials::Basic(..))).then(|| login.clone()))
    }

    /// Sends one request and follows where it leads. Authorization stays behind when scheme, host or port change.
    pub(super) async fn send(
        &self,
        method: Method,
        start: Url,
        headers: &HeaderMap,
        authorization: &Credentials,
    ) -> Result<Response, Fault> {
        let (mut url, mut own) = (start.clone(), true);
        for _ in 0..=MAX {
            let request = self.client(&url).request(method.clone(), url.clone()).headers(headers.clone());
            let request = if own { authorized(request, authorization) } else { request };
            let response = self.finish(request).await?;
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => url = next(&url, location)?,
                _ => return Ok(response),
            }
            own &= same_origin(&start, &url);
        }
        Err(Fault::Redirect(format!("more than {MAX} times")))
    }

    /// Sends exactly this request, wherever its answer points.
    pub(super) async fn finish(&self, request: RequestBuilder) -> Result<Response, Fault> {
        request.send().await.map_err(|error| Fault::of_http(error, 0, None, self.idle))
    }

    /// The client for `url`: what makes the registry special is nobody else's business.
    pub(super) fn client(&self, url: &Url) -> &Client {
        let mine = self.location.roads.iter().any(|road| {
            let base = format!("{}://{}", road.scheme(), self.location.host);
            base.parse().is_ok_and(|base| same_origin(&base, url))
        });
        if mine { &self.own } else { &self.others }
    }

    pub(super) async fn succeeded(&self, response: Response) -> Result<Response, Fault> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| wait(value.to_str().ok()?));
        let kind = content_type(&response);
        let start = beginning(response, MAX_ERROR).await;
        Err(Fault::of_status(status, kind, &start, self.anonymous(), wait))
    }
}

/// Nobody speaks that there. Who shows a certificate does, whether we trust it or not.
fn is_no_road(fault: &Fault) -> bool {
    matches!(fault, Fault::Tls(_) | Fault::Connect(_) | Fault::Cut { got: 0, .. })
        && !fault.is_bad_certificate()
}

/// What `Retry-After` asks for, in either of its forms (RFC 9110, section 10.2.3): seconds, or a date.
fn wait(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = httpdate::parse_http_date(value).ok()?;
    Some(moment.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The value of `Content-Type`, without parameters.
pub(super) fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

/// True for what people read and registries never send.
pub(super) fn is_page(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| kind.contains("html"))
}

/// The whole body, refused when it is longer than `limit` or a page for people.
pub(super) async fn body(mut response: Response, limit: usize, idle: Duration) -> Result<Vec<u8>, Fault> {
    let kind = content_type(&response);
    if is_page(kind.as_deref()) {
        return Err(Fault::not_a_registry(kind, &beginning(response, 1024).await));
    }
    let wanted = response.content_length();
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => {
                return Err(Fault::TooLarge(limit as u64));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(Fault::of_http(error, bytes.len() as u64, wanted, idle)),
        }
    }
}

/// As much of the body as comes, up to `limit`.
async fn beginning(mut response: Response, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(limit);
    bytes
}

pub(super) fn authorized(request: RequestBuilder, authorization: &Credentials) -> RequestBuilder {
    match authorization {
        Credentials::Basic(user, password) => request.basic_auth(user, Some(password)),
        Credentials::Bearer(token) => request.bearer_auth(token),
        // shown to the token service alone, in its own way
        Credentials::Anonymous | Credentials::Identity(_) => request,
    }
}

fn cause(error: impl Into<super::Cause>) -> Fault {
    Fault::Request(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after() {
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let soon = wait(&soon).unwrap();
        assert!((97..=100).contains(&soon.as_secs()), "{soon:?}");
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "past");
        for bad in ["", "-1", "1.5", "soon", "99999999999999999999999", "Wed, 99 Oct 2015 07:28:00 GMT"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }
}
