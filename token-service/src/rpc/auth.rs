//! Who may call what: two bearer tokens, two roles.

use std::sync::Arc;

use antigravity_runtime::secret;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Request, Status, service::Interceptor};

/// Lets requests with the right bearer token through to one service.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    tokens: Arc<(SecretString, SecretString)>,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Gateway,
    Admin,
}

impl Guard {
    /// For gateways; operators may pass as well.
    pub(crate) fn gateways(gateway: &SecretString, admin: &SecretString) -> Self {
        Self::new(gateway, admin, Role::Gateway)
    }

    /// For operators.
    pub(crate) fn operators(gateway: &SecretString, admin: &SecretString) -> Self {
        Self::new(gateway, admin, Role::Admin)
    }

    fn new(gateway: &SecretString, admin: &SecretString, role: Role) -> Self {
        Self {
            tokens: Arc::new((gateway.clone(), admin.clone())),
            role,
        }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization");
        let header = header
            .ok_or_else(|| Status::unauthenticated("send `authorization: Bearer <token>`"))?;
        let token = header
            .to_str()
            .ok()
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| Status::unauthenticated("the authorization is not `Bearer <token>`"))?;
        let (gateway, admin) = &*self.tokens;
        // Both are compared in any case, so that the time does not tell which one fits.
        let is_gateway = secret::equal(token, gateway.expose_secret());
        let is_admin = secret::equal(token, admin.expose_secret());
        match self.role {
            _ if is_admin => Ok(request),
            Role::Gateway if is_gateway => Ok(request),
            Role::Admin if is_gateway => Err(Status::permission_denied(
                "the gateways' token may not call this service; send the ADMIN_TOKEN",
            )),
            Role::Gateway | Role::Admin => {
                Err(Status::unauthenticated("the bearer token is not known"))
            }
        }
    }
}
