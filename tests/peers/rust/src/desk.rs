//! Everything this process holds between two calls, and the calls that need nothing more.
//!
//! A number given out names a seat: first a key package waiting for its Welcome (the interface's
//! transaction), then the group it led to (its state), then perhaps a group closed by a ReInit. A seat keeps
//! its number while it turns from one into the next; only a new group beside an old one, a branch, gets
//! another.

use std::collections::HashMap;
use std::fmt::Debug;

use mls_rs::group::{ExportedTree, ReceivedMessage};
use mls_rs::psk::{ExternalPskId, PreSharedKey};
use mls_rs::{CipherSuite, Extension, ExtensionList, MlsMessage};
use tonic::Status;

use crate::crypto;
use crate::external::ExternalSigner;
use crate::member::{KeyRing, Member, MlsGroup, MlsReinit};
use crate::proto;

pub type Reply<T> = Result<T, Status>;

/// mls-rs said no: either the message is bad, or the two implementations disagree.
pub fn refused(reason: impl Debug) -> Status {
    Status::aborted(format!("mls-rs: {reason:?}"))
}

/// The request itself makes no sense to this peer.
pub fn unusable(reason: impl Debug) -> Status {
    Status::invalid_argument(format!("{reason:?}"))
}

pub fn message(bytes: &[u8]) -> Reply<MlsMessage> {
    MlsMessage::from_bytes(bytes).map_err(refused)
}

/// The interface says "no tree here" with an empty field.
pub fn tree(bytes: &[u8]) -> Reply<Option<ExportedTree<'static>>> {
    (!bytes.is_empty()).then(|| ExportedTree::from_bytes(bytes).map_err(refused)).transpose()
}

/// Protocol Buffers has no 16 bit numbers; these are.
fn sixteen_bits(number: u32) -> Reply<u16> {
    u16::try_from(number).map_err(|_| unusable(format!("{number} is more than 16 bits")))
}

pub fn suite(number: u32) -> Reply<CipherSuite> {
    sixteen_bits(number).map(CipherSuite::from)
}

pub fn extensions(listed: Vec<proto::Extension>) -> Reply<ExtensionList> {
    let parsed: Reply<Vec<Extension>> = listed
        .into_iter()
        .map(|one| Ok(Extension::new(sixteen_bits(one.extension_type)?.into(), one.extension_data)))
        .collect();
    Ok(parsed?.into())
}

pub fn epoch_authenticator(group: &MlsGroup) -> Reply<Vec<u8>> {
    Ok(group.epoch_authenticator().map_err(refused)?.to_vec())
}

pub enum Seat {
    Waiting(Member),
    Seated(Member, Box<MlsGroup>),
    Closed(Member, Box<MlsReinit>),
}

impl Seat {
    fn member_mut(&mut self) -> &mut Member {
        match self {
            Self::Waiting(member) | Self::Seated(member, _) | Self::Closed(member, _) => member,
        }
    }
}

#[derive(Default)]
pub struct Desk {
    seats: HashMap<u32, Seat>,
    pub signers: HashMap<u32, ExternalSigner>,
    pub keys: KeyRing,
    last: u32,
}

impl Desk {
    /// A number never used before: the interface's three kinds of ids share one sequence, from 1.
    pub fn number(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    pub fn seat(&mut self, seat: Seat) -> u32 {
        let id = self.number();
        self.seats.insert(id, seat);
        id
    }

    pub fn reseat(&mut self, id: u32, seat: Seat) {
        self.seats.insert(id, seat);
    }

    pub fn waiting(&self, id: u32) -> Reply<&Member> {
        match self.seats.get(&id) {
            Some(Seat::Waiting(member)) => Ok(member),
            _ => Err(Status::not_found(format!("no key package is waiting under number {id}"))),
        }
    }

    pub fn seated(&mut self, id: u32) -> Reply<(&Member, &mut MlsGroup)> {
        match self.seats.get_mut(&id) {
            Some(Seat::Seated(member, group)) => Ok((member, group)),
            _ => Err(Status::not_found(format!("no group has the number {id}"))),
        }
    }

    /// A ReInit is finished once, and a failed attempt ends it too; then its number is free for the new
    /// group.
    pub fn closed(&mut self, id: u32) -> Reply<(Member, MlsReinit)> {
        match self.seats.remove(&id) {
            Some(Seat::Closed(member, reinit)) => Ok((member, *reinit)),
            other => {
                other.map(|seat| self.seats.insert(id, seat));
                Err(Status::not_found(format!("no ReInit has the number {id}")))
            }
        }
    }

    pub fn newcomer(&mut self, suite: CipherSuite, name: &[u8]) -> Reply<Member> {
        let signer = self.keys.signer(suite, name)?;
        Ok(Member::new(name, suite, &signer))
    }
}

/// The private keys of the one key package a newcomer has made: init, encryption, signature.
pub struct Secrets(pub Vec<u8>, pub Vec<u8>, pub Vec<u8>);

impl Desk {
    pub fn secrets(&mut self, member: &Member) -> Reply<Secrets> {
        let stored = member.client.key_package_store().key_packages();
        let [(_, package)] = stored.as_slice() else {
            return Err(Status::internal("a newcomer has exactly one key package"));
        };
        let (_, suite) = member.client.signing_identity().map_err(refused)?;
        let signer = self.keys.signer(suite, &member.name)?;
        Ok(Secrets(package.init_key.to_vec(), package.leaf_node_key.to_vec(), signer.secret.to_vec()))
    }
}

/// The calls. Each is the gRPC call of the same name.
impl Desk {
    pub fn name(&mut self, _: proto::NameRequest) -> Reply<proto::NameResponse> {
        Ok(proto::NameResponse { name: "mls-rs".to_owned() })
    }

    pub fn supported_ciphersuites(
        &mut self,
        _: proto::SupportedCiphersuitesRequest,
    ) -> Reply<proto::SupportedCiphersuitesResponse> {
        let ciphersuites = crypto::suites().into_iter().map(|suite| u32::from(*suite)).collect();
        Ok(proto::SupportedCiphersuitesResponse { ciphersuites })
    }

    pub fn create_group(&mut self, request: proto::CreateGroupRequest) -> Reply<proto::CreateGroupResponse> {
        let member = self.newcomer(suite(request.cipher_suite)?, &request.identity)?;
        member.rules.encrypt_handshake(request.encrypt_handshake);
        let group = member
            .client
            .group_builder()
            .and_then(|builder| builder.with_group_id(request.group_id).build())
            .map_err(refused)?;
        Ok(proto::CreateGroupResponse { state_id: self.seat(Seat::Seated(member, Box::new(group))) })
    }

    pub fn create_key_package(
        &mut self,
        request: proto::CreateKeyPackageRequest,
    ) -> Reply<proto::CreateKeyPackageResponse> {
        let member = self.newcomer(suite(request.cipher_suite)?, &request.identity)?;
        let key_package = member
            .client
            .generate_key_package_message(ExtensionList::new(), ExtensionList::new(), None)
            .and_then(|package| package.to_bytes())
            .map_err(refused)?;
        let Secrets(init_priv, encryption_priv, signature_priv) = self.secrets(&member)?;
        Ok(proto::CreateKeyPackageResponse {
            transaction_id: self.seat(Seat::Waiting(member)),
            key_package,
            init_priv,
            encryption_priv,
            signature_priv,
        })
    }

    pub fn join_group(&mut self, request: proto::JoinGroupRequest) -> Reply<proto::JoinGroupResponse> {
        let member = self.waiting(request.transaction_id)?.clone();
        member.rules.encrypt_handshake(request.encrypt_handshake);
        let (group, _) = member
            .client
            .join_group(tree(&request.ratchet_tree)?, &message(&request.welcome)?, None)
            .map_err(refused)?;
        let epoch_authenticator = epoch_authenticator(&group)?;
        self.reseat(request.transaction_id, Seat::Seated(member, Box::new(group)));
        Ok(proto::JoinGroupResponse { state_id: request.transaction_id, epoch_authenticator })
    }

    pub fn group_info(&mut self, request: proto::GroupInfoRequest) -> Reply<proto::GroupInfoResponse> {
        let (_, group) = self.seated(request.state_id)?;
        let group_info = group
            .group_info_message_allowing_ext_commit(!request.external_tree)
            .and_then(|info| info.to_bytes())
            .map_err(refused)?;
        let ratchet_tree =
            if request.external_tree { group.export_tree().to_bytes().map_err(refused)? } else { Vec::new() };
        Ok(proto::GroupInfoResponse { group_info, ratchet_tree })
    }

    pub fn state_auth(&mut self, request: proto::StateAuthRequest) -> Reply<proto::StateAuthResponse> {
        let (_, group) = self.seated(request.state_id)?;
        Ok(proto::StateAuthResponse { state_auth_secret: epoch_authenticator(group)? })
    }

    pub fn export(&mut self, request: proto::ExportRequest) -> Reply<proto::ExportResponse> {
        let (_, group) = self.seated(request.state_id)?;
        let length = usize::try_from(request.key_length).map_err(unusable)?;
        let exported =
            group.export_secret(request.label.as_bytes(), &request.context, length).map_err(refused)?;
        Ok(proto::ExportResponse { exported_secret: exported.to_vec() })
    }

    pub fn protect(&mut self, request: proto::ProtectRequest) -> Reply<proto::ProtectResponse> {
        let (_, group) = self.seated(request.state_id)?;
        let ciphertext = group
            .encrypt_application_message(&request.plaintext, request.authenticated_data)
            .and_then(|sealed| sealed.to_bytes())
            .map_err(refused)?;
        Ok(proto::ProtectResponse { ciphertext })
    }

    pub fn unprotect(&mut self, request: proto::UnprotectRequest) -> Reply<proto::UnprotectResponse> {
        let (_, group) = self.seated(request.state_id)?;
        match group.process_incoming_message(message(&request.ciphertext)?).map_err(refused)? {
            ReceivedMessage::ApplicationMessage(opened) => Ok(proto::UnprotectResponse {
                plaintext: opened.data().to_vec(),
                authenticated_data: opened.authenticated_data,
            }),
            other => Err(unusable(format!("not application data: {other:?}"))),
        }
    }

    pub fn store_psk(&mut self, request: proto::StorePskRequest) -> Reply<proto::StorePskResponse> {
        let id = request.state_or_transaction_id;
        let seat = self.seats.get_mut(&id).ok_or_else(|| {
            Status::not_found(format!("neither a group nor a key package has the number {id}"))
        })?;
        seat.member_mut()
            .client
            .secret_store()
            .insert(ExternalPskId::new(request.psk_id), PreSharedKey::new(request.psk_secret));
        Ok(proto::StorePskResponse {})
    }

    /// Freeing what is not there is no error: a runner may free again, at the end, what it freed on the way.
    pub fn free(&mut self, request: proto::FreeRequest) -> Reply<proto::FreeResponse> {
        self.seats.remove(&request.state_id);
        Ok(proto::FreeResponse {})
    }
}
