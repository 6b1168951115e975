//! Proposals and commits inside a group (RFC 9420 sections 12.1 to 12.4).
//!
//! Commits work on a copy of the group and replace it only when all of it succeeded, so a refused message
//! leaves the group where it was.

use mls_rs::error::MlsError;
use mls_rs::extension::built_in::ExternalSendersExt;
use mls_rs::group::{CommitEffect, ReceivedMessage};
use mls_rs::identity::SigningIdentity;
use mls_rs::mls_rs_codec::MlsDecode;
use mls_rs::mls_rules::{ProposalRef, ProposalSource};
use mls_rs::psk::ExternalPskId;
use mls_rs::{MlsMessage, ProtocolVersion};
use tonic::Status;

use crate::desk::{epoch_authenticator, extensions, message, refused, suite, unusable, Desk, Reply};
use crate::member::{leaf_of, MlsGroup};
use crate::proto;

/// Reads the proposals a commit refers to, our own among them, and says what they are called.
fn read_proposals(group: &mut MlsGroup, proposals: &[Vec<u8>]) -> Reply<Vec<ProposalRef>> {
    proposals
        .iter()
        .map(|bytes| match group.process_incoming_message(message(bytes)?).map_err(refused)? {
            ReceivedMessage::Proposal(read) => Ok(read.proposal_ref),
            other => Err(unusable(format!("not a proposal: {other:?}"))),
        })
        .collect()
}

impl Desk {
    fn propose(
        &mut self,
        state_id: u32,
        make: impl FnOnce(&mut MlsGroup) -> Result<MlsMessage, MlsError>,
    ) -> Reply<proto::ProposalResponse> {
        let (_, group) = self.seated(state_id)?;
        let proposal = make(group).and_then(|made| made.to_bytes()).map_err(refused)?;
        Ok(proto::ProposalResponse { proposal })
    }

    pub fn add_proposal(&mut self, request: proto::AddProposalRequest) -> Reply<proto::ProposalResponse> {
        let package = message(&request.key_package)?;
        self.propose(request.state_id, |group| group.propose_add(package, Vec::new()))
    }

    pub fn update_proposal(
        &mut self,
        request: proto::UpdateProposalRequest,
    ) -> Reply<proto::ProposalResponse> {
        self.propose(request.state_id, |group| group.propose_update(Vec::new()))
    }

    pub fn remove_proposal(
        &mut self,
        request: proto::RemoveProposalRequest,
    ) -> Reply<proto::ProposalResponse> {
        let (_, group) = self.seated(request.state_id)?;
        let leaf = leaf_of(&group.roster().members(), &request.removed_id)?;
        self.propose(request.state_id, |group| group.propose_remove(leaf, Vec::new()))
    }

    pub fn external_psk_proposal(
        &mut self,
        request: proto::ExternalPskProposalRequest,
    ) -> Reply<proto::ProposalResponse> {
        let id = ExternalPskId::new(request.psk_id);
        self.propose(request.state_id, |group| group.propose_external_psk(id, Vec::new()))
    }

    pub fn resumption_psk_proposal(
        &mut self,
        request: proto::ResumptionPskProposalRequest,
    ) -> Reply<proto::ProposalResponse> {
        self.propose(request.state_id, |group| group.propose_resumption_psk(request.epoch_id, Vec::new()))
    }

    pub fn group_context_extensions_proposal(
        &mut self,
        request: proto::GroupContextExtensionsProposalRequest,
    ) -> Reply<proto::ProposalResponse> {
        let wanted = extensions(request.extensions)?;
        self.propose(request.state_id, |group| group.propose_group_context_extensions(wanted, Vec::new()))
    }

    pub fn re_init_proposal(
        &mut self,
        request: proto::ReInitProposalRequest,
    ) -> Reply<proto::ProposalResponse> {
        let next = suite(request.cipher_suite)?;
        let wanted = extensions(request.extensions)?;
        self.propose(request.state_id, |group| {
            group.propose_reinit(Some(request.group_id), ProtocolVersion::MLS_10, next, wanted, Vec::new())
        })
    }

    /// A GroupContextExtensions proposal replaces the whole list (RFC 9420 section 12.1.7), so the new signer
    /// joins the ones already there.
    pub fn add_external_signer(
        &mut self,
        request: proto::AddExternalSignerRequest,
    ) -> Reply<proto::ProposalResponse> {
        let signer = SigningIdentity::mls_decode(&mut request.external_sender.as_slice()).map_err(refused)?;
        let (_, group) = self.seated(request.state_id)?;
        let mut wanted = group.context().extensions.clone();
        let known = wanted.get_as::<ExternalSendersExt>().map_err(refused)?;
        let mut senders = known.map_or_else(Vec::new, |listed| listed.allowed_senders);
        senders.push(signer);
        wanted.set_from(ExternalSendersExt::new(senders)).map_err(refused)?;
        self.propose(request.state_id, |group| group.propose_group_context_extensions(wanted, Vec::new()))
    }
}

impl Desk {
    pub fn commit(&mut self, request: proto::CommitRequest) -> Reply<proto::CommitResponse> {
        let (member, group) = self.seated(request.state_id)?;
        let mut next = group.clone();
        let named = read_proposals(&mut next, &request.by_reference)?;
        let roster = next.roster().members();
        member.rules.next_commit(request.force_path, request.external_tree, Some(named.clone()));

        let mut builder = next.commit_builder();
        for described in request.by_value {
            builder = match described.proposal_type.as_slice() {
                b"add" => builder.add_member(message(&described.key_package)?),
                b"remove" => builder.remove_member(leaf_of(&roster, &described.removed_id)?),
                b"externalPSK" => builder.add_external_psk(ExternalPskId::new(described.psk_id)),
                b"resumptionPSK" => builder.add_resumption_psk(described.epoch_id),
                b"groupContextExtensions" => builder.set_group_context_ext(extensions(described.extensions)?),
                b"reinit" => builder.reinit(
                    Some(described.group_id),
                    ProtocolVersion::MLS_10,
                    suite(described.cipher_suite)?,
                    extensions(described.extensions)?,
                ),
                other => return Err(unusable(format!("proposal type {}", String::from_utf8_lossy(other)))),
            }
            .map_err(refused)?;
        }
        let made = builder.build().map_err(refused)?;

        // mls-rs drops a referenced proposal it finds invalid; the caller asked for all of them.
        let dropped = made.unused_proposals().iter().any(|unused| match unused.source() {
            ProposalSource::ByReference(reference) => named.contains(reference),
            _ => true,
        });
        if dropped {
            return Err(Status::failed_precondition(
                "mls-rs would leave out a proposal named for this commit",
            ));
        }

        let response = proto::CommitResponse {
            commit: made.commit_message().to_bytes().map_err(refused)?,
            welcome: match made.welcome_messages() {
                [] => Vec::new(),
                [welcome] => welcome.to_bytes().map_err(refused)?,
                _ => return Err(Status::internal("one Welcome for all newcomers was asked for")),
            },
            ratchet_tree: match made.ratchet_tree() {
                Some(tree) if request.external_tree => tree.to_bytes().map_err(refused)?,
                _ => Vec::new(),
            },
        };
        *group = next;
        Ok(response)
    }

    /// Follows somebody else's commit and says what it did.
    pub fn follow(&mut self, request: &proto::HandleCommitRequest) -> Reply<CommitEffect> {
        let (_, group) = self.seated(request.state_id)?;
        let mut next = group.clone();
        read_proposals(&mut next, &request.proposal)?;
        match next.process_incoming_message(message(&request.commit)?).map_err(refused)? {
            ReceivedMessage::Commit(read) => {
                *group = next;
                Ok(read.effect)
            }
            other => Err(unusable(format!("not a commit: {other:?}"))),
        }
    }

    /// Applies the commit made by `commit` and says what it did.
    pub fn follow_own(&mut self, state_id: u32) -> Reply<CommitEffect> {
        let (_, group) = self.seated(state_id)?;
        Ok(group.apply_pending_commit().map_err(refused)?.effect)
    }

    fn now_at(&mut self, state_id: u32) -> Reply<proto::HandleCommitResponse> {
        let (_, group) = self.seated(state_id)?;
        Ok(proto::HandleCommitResponse { state_id, epoch_authenticator: epoch_authenticator(group)? })
    }

    pub fn handle_commit(
        &mut self,
        request: proto::HandleCommitRequest,
    ) -> Reply<proto::HandleCommitResponse> {
        self.follow(&request)?;
        self.now_at(request.state_id)
    }

    pub fn handle_pending_commit(
        &mut self,
        request: proto::HandlePendingCommitRequest,
    ) -> Reply<proto::HandleCommitResponse> {
        self.follow_own(request.state_id)?;
        self.now_at(request.state_id)
    }
}
