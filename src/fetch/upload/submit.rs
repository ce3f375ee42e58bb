//! Requests with a body.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode, Url};

use super::cause;
use crate::fetch::Credentials;
use crate::fetch::error::Fault;
use crate::fetch::http::{Http, authorized};
use crate::fetch::redirect::same_origin;

impl Http {
    /// The address of `path` in the repository, on the road that is known to be right.
    pub(super) fn url(&self, path: &str) -> Result<Url, Fault> {
        let (scheme, location) = (self.road().scheme(), self.location());
        let url = format!("{scheme}://{}/v2/{}/{path}", location.host, location.repository);
        Url::parse(&url).map_err(cause)
    }

    /// What it takes to send.
    pub(super) fn scope(&self) -> String {
        format!("repository:{}:pull,push", self.location().repository)
    }

    /// Sends one request with a body. When the registry asks back who we are, tells it and sends it again; what lies
    /// elsewhere learns nothing of that.
    pub(super) async fn submit(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
        from: Option<&str>,
    ) -> Result<Response, Fault> {
        let own = same_origin(&url, &self.url("")?);
        let send = async |shown: &Credentials| {
            let request = self.client(&url).request(method.clone(), url.clone());
            let request = request.headers(headers.clone()).body(body.clone());
            self.finish(if own { authorized(request, shown) } else { request }).await
        };
        let shown = self.authorization().clone();
        let mut response = send(&shown).await?;
        if response.status() == StatusCode::UNAUTHORIZED && own {
            let mut scope = self.scope();
            if let Some(from) = from {
                scope += &format!(" repository:{from}:pull");
            }
            if let Some(authorization) = self.answer(self.road(), response.headers(), Some(&scope)).await? {
                *self.authorization() = authorization.clone();
                response = send(&authorization).await?;
            }
        }
        self.succeeded(response).await
    }
}
