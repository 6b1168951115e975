//! Joining and proposing from outside a group (RFC 9420 sections 12.1.8 and 12.4.3.2).

use mls_rs::external_client::builder::{ExternalBaseConfig, WithCryptoProvider, WithIdentityProvider};
use mls_rs::external_client::ExternalClient;
use mls_rs::identity::basic::BasicIdentityProvider;
use mls_rs::mls_rs_codec::MlsEncode;
use mls_rs::psk::{ExternalPskId, PreSharedKey};
use mls_rs::{CipherSuite, ExtensionList, MlsMessage, ProtocolVersion};
use tonic::Status;

use crate::crypto;
use crate::desk::{epoch_authenticator, extensions, message, refused, suite, tree, unusable};
use crate::desk::{Desk, Reply, Seat, Secrets};
use crate::member::{leaf_of, Signer};
use crate::proto;

type Config =
    WithIdentityProvider<BasicIdentityProvider, WithCryptoProvider<crypto::Provider, ExternalBaseConfig>>;

/// A party that may propose to a group without being in it.
pub struct ExternalSigner(ExternalClient<Config>);

fn suite_of(group_info: &MlsMessage) -> Reply<CipherSuite> {
    group_info.cipher_suite().ok_or_else(|| unusable("not a GroupInfo"))
}

impl Desk {
    pub fn external_join(
        &mut self,
        request: proto::ExternalJoinRequest,
    ) -> Reply<proto::ExternalJoinResponse> {
        let group_info = message(&request.group_info)?;
        let member = self.newcomer(suite_of(&group_info)?, &request.identity)?;
        member.rules.encrypt_handshake(request.encrypt_handshake);

        let mut builder = member.client.external_commit_builder().map_err(refused)?;
        for psk in request.psks {
            let id = ExternalPskId::new(psk.psk_id);
            member.client.secret_store().insert(id.clone(), PreSharedKey::new(psk.psk_secret));
            builder = builder.with_external_psk(id);
        }
        if request.remove_prior {
            // Which leaf is ours stands in the tree, and only an observer may look before joining.
            let observer = ExternalClient::builder()
                .crypto_provider(crypto::Provider::default())
                .identity_provider(BasicIdentityProvider::new())
                .build();
            let observed = observer
                .observe_group(group_info.clone(), tree(&request.ratchet_tree)?, None)
                .map_err(refused)?;
            builder = builder.with_removal(leaf_of(&observed.roster().members(), &request.identity)?);
        }
        if let Some(given) = tree(&request.ratchet_tree)? {
            builder = builder.with_tree_data(given);
        }
        let (group, commit) = builder.build(group_info).map_err(refused)?;

        let commit = commit.to_bytes().map_err(refused)?;
        let epoch_authenticator = epoch_authenticator(&group)?;
        let state_id = self.seat(Seat::Seated(member, Box::new(group)));
        Ok(proto::ExternalJoinResponse { state_id, commit, epoch_authenticator })
    }

    pub fn new_member_add_proposal(
        &mut self,
        request: proto::NewMemberAddProposalRequest,
    ) -> Reply<proto::NewMemberAddProposalResponse> {
        let group_info = message(&request.group_info)?;
        let member = self.newcomer(suite_of(&group_info)?, &request.identity)?;
        let none = ExtensionList::new;
        let proposal = member
            .client
            .external_add_proposal(&group_info, None, Vec::new(), none(), none(), None)
            .and_then(|made| made.to_bytes())
            .map_err(refused)?;
        let Secrets(init_priv, encryption_priv, signature_priv) = self.secrets(&member)?;
        Ok(proto::NewMemberAddProposalResponse {
            transaction_id: self.seat(Seat::Waiting(member)),
            proposal,
            init_priv,
            encryption_priv,
            signature_priv,
        })
    }

    pub fn create_external_signer(
        &mut self,
        request: proto::CreateExternalSignerRequest,
    ) -> Reply<proto::CreateExternalSignerResponse> {
        let Signer { identity, secret } = Signer::generate(suite(request.cipher_suite)?, &request.identity)?;
        // A SigningIdentity is written as the ExternalSender of RFC 9420 section 12.1.8.1: key, then
        // credential.
        let external_sender = identity.mls_encode_to_vec().map_err(refused)?;
        let client = ExternalClient::builder()
            .crypto_provider(crypto::Provider::default())
            .identity_provider(BasicIdentityProvider::new())
            .signer(secret, identity)
            .build();
        let signer_id = self.number();
        self.signers.insert(signer_id, ExternalSigner(client));
        Ok(proto::CreateExternalSignerResponse { signer_id, external_sender })
    }

    /// The request's `signer_index` is not used: mls-rs finds its own place in the group's list of senders.
    pub fn external_signer_proposal(
        &mut self,
        request: proto::ExternalSignerProposalRequest,
    ) -> Reply<proto::ProposalResponse> {
        let id = request.signer_id;
        let signer = self
            .signers
            .get(&id)
            .ok_or_else(|| Status::not_found(format!("no external signer has the number {id}")))?;
        let described = request.description.ok_or_else(|| unusable("no proposal is described"))?;
        let mut observed = signer
            .0
            .observe_group(message(&request.group_info)?, tree(&request.ratchet_tree)?, None)
            .map_err(refused)?;

        let aad = Vec::new();
        let made = match described.proposal_type.as_slice() {
            b"add" => observed.propose_add(message(&described.key_package)?, aad),
            b"remove" => {
                let leaf = leaf_of(&observed.roster().members(), &described.removed_id)?;
                observed.propose_remove(leaf, aad)
            }
            b"externalPSK" => observed.propose_external_psk(ExternalPskId::new(described.psk_id), aad),
            b"resumptionPSK" => observed.propose_resumption_psk(described.epoch_id, aad),
            b"groupContextExtensions" => {
                observed.propose_group_context_extensions(extensions(described.extensions)?, aad)
            }
            b"reinit" => observed.propose_reinit(
                Some(described.group_id),
                ProtocolVersion::MLS_10,
                suite(described.cipher_suite)?,
                extensions(described.extensions)?,
                aad,
            ),
            other => return Err(unusable(format!("proposal type {}", String::from_utf8_lossy(other)))),
        };
        let proposal = made.and_then(|made| made.to_bytes()).map_err(refused)?;
        Ok(proto::ProposalResponse { proposal })
    }
}
