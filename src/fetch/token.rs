//! Tokens of the service a registry names (distribution-spec's token authentication): by user and password, by
//! nothing, or by an identity token of an earlier login (OAuth2).

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, Url};
use serde::Deserialize;

use super::credentials::Credentials;
use super::error::Fault;
use super::http::{Http, Road, body};
use super::redirect::origin;

const MAX_TOKEN: usize = 1 << 20;
/// Said to services that want to know which program asks.
const CLIENT: &str = "devbox";

impl Http {
    /// A token of the service at `realm`, good for `scope`. The service gets our credentials, so it must be
    /// reached by TLS, unless the registry itself is one that is reached without.
    pub(super) async fn token(
        &self,
        road: Road,
        realm: Option<&str>,
        service: Option<String>,
        scope: Option<&str>,
    ) -> Result<Credentials, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let realm = realm.ok_or_else(|| Fault::Token("has no address".into()))?;
        let url = Url::parse(realm)
            .map_err(|_| Fault::Token(format!("has no valid address: `{}`", realm.escape_debug())))?;
        let shown = origin(&url);
        if url.scheme() != "https" && !(road == Road::Plain && url.scheme() == "http") {
            return Err(Fault::Token(format!("would get the credentials unencrypted at {shown}")));
        }
        let service = service.as_deref().map(|service| ("service", service));
        let response = match self.login() {
            Credentials::Identity(token) => {
                let fields: Vec<_> = service.into_iter().chain(scope.map(|scope| ("scope", scope))).collect();
                self.refresh(url, &fields, token).await?
            }
            login => {
                // each right is asked for by itself
                let scopes =
                    scope.into_iter().flat_map(|scope| scope.split(' ')).map(|scope| ("scope", scope));
                let fields: Vec<_> = service.into_iter().chain(scopes).collect();
                self.get(url, &fields, login).await?
            }
        };
        let body = body(self.succeeded(response).await?, MAX_TOKEN, self.idle()).await?;
        let answer: Option<Answer> = serde_json::from_slice(&body).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token)).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Fault::Token(format!("at {shown} gave no token")));
        }
        Ok(Credentials::Bearer(token))
    }

    async fn get(
        &self,
        mut url: Url,
        fields: &[(&str, &str)],
        login: &Credentials,
    ) -> Result<Response, Fault> {
        if !fields.is_empty() {
            url.query_pairs_mut().extend_pairs(fields);
        }
        self.send(reqwest::Method::GET, url, &Default::default(), login).await
    }

    async fn refresh(&self, url: Url, fields: &[(&str, &str)], token: &str) -> Result<Response, Fault> {
        let mut form = url.clone();
        form.query_pairs_mut().clear().extend_pairs(fields).extend_pairs([
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", token),
        ]);
        let request = self.client(&url).post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        // no redirect is followed: it would carry the token along
        self.finish(request.body(form.query().unwrap_or_default().to_owned())).await
    }
}
