//! The clients at this peer, each with its own storage, and their groups.

use std::collections::BTreeMap;
use std::rc::Rc;

use openmls::prelude::{
    BasicCredential, Ciphersuite, CredentialWithKey, MlsGroup, OpenMlsProvider, ProtocolVersion,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use serde_json::{Value, json};

use crate::wire::{Fields, Outcome, refused, shown, wrong};

pub const VERSION: ProtocolVersion = ProtocolVersion::Mls10;

/// Somebody who can be in groups of one cipher suite. The devices of a virtual client and what they act as share a
/// provider, and with it what OpenMLS stores of derivation epochs.
pub struct Client {
    pub provider: Rc<OpenMlsRustCrypto>,
    pub suite: Ciphersuite,
    pub signer: SignatureKeyPair,
    pub credential: CredentialWithKey,
    groups: BTreeMap<Vec<u8>, MlsGroup>,
}

impl Client {
    fn new(
        provider: Rc<OpenMlsRustCrypto>,
        suite: Ciphersuite,
        identity: Vec<u8>,
        signer: SignatureKeyPair,
    ) -> Self {
        let credential = CredentialWithKey {
            credential: BasicCredential::new(identity).into(),
            signature_key: signer.to_public_vec().into(),
        };
        Self { provider, suite, signer, credential, groups: BTreeMap::new() }
    }

    pub fn keep(&mut self, group: MlsGroup) {
        self.groups.insert(group.group_id().as_slice().to_vec(), group);
    }
}

/// A client's group, beside what is needed to work with it.
pub struct Seat<'a> {
    pub provider: &'a OpenMlsRustCrypto,
    pub signer: &'a SignatureKeyPair,
    pub group: &'a mut MlsGroup,
}

#[derive(Default)]
pub struct Desk {
    clients: BTreeMap<String, Client>,
}

impl Desk {
    /// The client that a call names.
    pub fn client(&mut self, fields: &Fields) -> Outcome<&mut Client> {
        let name = fields.text("client")?;
        self.clients.get_mut(name).ok_or_else(|| wrong(format!("no client {name:?}")))
    }

    /// The group that a call names.
    pub fn seat(&mut self, fields: &Fields) -> Outcome<Seat<'_>> {
        let id = fields.bytes("group")?;
        let Client { provider, signer, groups, .. } = self.client(fields)?;
        let group = groups.get_mut(&id).ok_or_else(|| wrong("no such group"))?;
        Ok(Seat { provider, signer, group })
    }
}

/// `client`, `group` -> nothing. The client has nothing of the group any more, and may become a member again.
pub fn forget(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let id = fields.bytes("group")?;
    let client = desk.client(fields)?;
    let mut group = client.groups.remove(&id).ok_or_else(|| wrong("no such group"))?;
    group.delete(client.provider.storage()).map_err(refused)?;
    Ok(json!({}))
}

fn suite(fields: &Fields) -> Outcome<Ciphersuite> {
    Ciphersuite::try_from(fields.number::<u16>("suite")?).map_err(refused)
}

/// `client`, `suite`, `identity` -> `signature_key`. A client of that name is replaced.
pub fn create_client(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let suite = suite(fields)?;
    let signer = SignatureKeyPair::new(suite.signature_algorithm()).map_err(refused)?;
    let public = shown(signer.to_public_vec());
    let client = Client::new(Rc::default(), suite, fields.bytes("identity")?, signer);
    desk.clients.insert(fields.text("client")?.to_owned(), client);
    Ok(json!({ "signature_key": public }))
}

fn given_key(fields: &Fields, suite: Ciphersuite) -> Outcome<SignatureKeyPair> {
    let (private, public) = (fields.bytes("private")?, fields.bytes("public")?);
    Ok(SignatureKeyPair::from_raw(suite.signature_algorithm(), private, public))
}

/// `client`, `device`, `suite`, `identity`, `private`, `public` -> nothing. What a device acts as: a client with a
/// signature key that all devices have, and with the device's storage.
pub fn create_virtual_client(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let device = fields.text("device")?;
    let device = desk.clients.get(device).ok_or_else(|| wrong(format!("no client {device:?}")))?;
    let (provider, suite) = (Rc::clone(&device.provider), suite(fields)?);
    let client = Client::new(provider, suite, fields.bytes("identity")?, given_key(fields, suite)?);
    desk.clients.insert(fields.text("client")?.to_owned(), client);
    Ok(json!({}))
}

/// `client`, `private`, `public` -> nothing. The key that the client signs with from now on.
pub fn use_key(desk: &mut Desk, fields: &Fields) -> Outcome<Value> {
    let client = desk.client(fields)?;
    client.signer = given_key(fields, client.suite)?;
    client.credential.signature_key = client.signer.to_public_vec().into();
    Ok(json!({}))
}
