//! The short exchanges with a registry: manifests and tokens. Each body is read to a limit, each answer's
//! status and type is looked at, and credentials go to no one but the registry and the service it names.
//!
//! They are ours because the registry client reads such bodies whole, however long they are, tells neither their
//! type nor a token service's refusal, and sends a password over plain HTTP when a registry asks for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_auth::parser::ChallengeParser;
use oci_distribution::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use super::error::Fault;
use super::{Timeouts, USER_AGENT};

const MAX_REDIRECTS: usize = 10;
const MAX_TOKEN: usize = 1 << 20;
const MAX_ERROR: usize = 64 << 10;

/// HTTP with one repository of one registry.
pub(super) struct Http {
    client: Client,
    /// `https://registry/v2/repository`.
    base: String,
    /// Scope a token is asked for.
    scope: String,
    /// Plain HTTP is right for this registry.
    plain: bool,
    login: RegistryAuth,
    /// What the registry wanted to see when it last asked.
    authorization: Mutex<RegistryAuth>,
}

impl Http {
    pub(super) fn new(
        name: &oci_distribution::Reference,
        plain: bool,
        login: RegistryAuth,
        timeouts: &Timeouts,
    ) -> Result<Self, Fault> {
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.idle)
            .redirect(redirect::Policy::custom(follow));
        if plain {
            // no proxy of the environment leads to this very machine
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| Fault::of_http(error, 0))?;
        let scheme = if plain { "http" } else { "https" };
        Ok(Self {
            client,
            base: format!("{scheme}://{}/v2/{}", name.resolve_registry(), name.repository()),
            scope: format!("repository:{}:pull", name.repository()),
            plain,
            login,
            authorization: Mutex::new(RegistryAuth::Anonymous),
        })
    }

    /// What is sent along as authorization now.
    pub(super) fn authorization(&self) -> MutexGuard<'_, RegistryAuth> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether we have no credentials for this registry.
    pub(super) fn anonymous(&self) -> bool {
        matches!(self.login, RegistryAuth::Anonymous)
    }

    /// Asks for `path` of the repository; when the registry asks back who we are, tells it and asks again.
    /// Gives successful answers only.
    pub(super) async fn ask(&self, method: Method, path: &str, accept: &str) -> Result<Response, Fault> {
        let request = || {
            let request =
                self.client.request(method.clone(), format!("{}/{path}", self.base)).header(ACCEPT, accept);
            authorized(request, &self.authorization())
        };
        let mut response = send(request()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(authorization) = self.answer(response.headers()).await?
        {
            *self.authorization() = authorization;
            response = send(request()).await?;
        }
        self.succeeded(response).await
    }

    /// What to send to a registry that asks with these headers; `None` when we have nothing it wants.
    async fn answer(&self, headers: &HeaderMap) -> Result<Option<RegistryAuth>, Fault> {
        let mut basic = false;
        for header in headers.get_all(WWW_AUTHENTICATE) {
            for challenge in ChallengeParser::new(header.to_str().unwrap_or_default()).map_while(Result::ok) {
                let value = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm = value("realm").ok_or_else(|| Fault::Token("has no address".into()))?;
                    return self.token(&realm, value("service")).await.map(Some);
                }
                basic |= challenge.scheme.eq_ignore_ascii_case("basic");
            }
        }
        Ok((basic && !self.anonymous()).then(|| self.login.clone()))
    }

    /// Asks the service at `realm` for a token to read the repository.
    async fn token(&self, realm: &str, service: Option<String>) -> Result<RegistryAuth, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let shown = realm.escape_debug();
        let mut url =
            Url::parse(realm).map_err(|_| Fault::Token(format!("has no valid address: `{shown}`")))?;
        if url.scheme() != "https" && !(self.plain && url.scheme() == "http") {
            return Err(Fault::Token(format!("would get the credentials unencrypted at `{shown}`")));
        }
        url.query_pairs_mut()
            .extend_pairs(service.map(|it| ("service", it)))
            .append_pair("scope", &self.scope);
        let response = send(authorized(self.client.get(url), &self.login)).await?;
        let body = body(self.succeeded(response).await?, MAX_TOKEN).await?;
        let answer: Option<Answer> = serde_json::from_slice(&body).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token)).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Fault::Token(format!("at `{shown}` gave no token")));
        }
        Ok(RegistryAuth::Bearer(token))
    }

    async fn succeeded(&self, response: Response) -> Result<Response, Fault> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let start = beginning(response, MAX_ERROR).await;
        Err(Fault::of_status(status, &start, self.anonymous(), wait.map(Duration::from_secs)))
    }
}

/// The value of `Content-Type`, without parameters.
pub(super) fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

/// The whole body, refused when it is longer than `limit`.
pub(super) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => {
                return Err(Fault::TooLarge(limit as u64));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(Fault::of_http(error, bytes.len() as u64)),
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

async fn send(request: RequestBuilder) -> Result<Response, Fault> {
    request.send().await.map_err(|error| Fault::of_http(error, 0))
}

fn authorized(request: RequestBuilder, authorization: &RegistryAuth) -> RequestBuilder {
    match authorization {
        RegistryAuth::Anonymous => request,
        RegistryAuth::Basic(user, password) => request.basic_auth(user, Some(password)),
        RegistryAuth::Bearer(token) => request.bearer_auth(token),
    }
}

/// Never from HTTPS to HTTP; the client itself keeps authorization from other hosts.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let safe = attempt.previous().last().is_some_and(|from| from.scheme() == "https");
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else if safe && attempt.url().scheme() != "https" {
        attempt.error("it leads from HTTPS to plain HTTP")
    } else {
        attempt.follow()
    }
}
