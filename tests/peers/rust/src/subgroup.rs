//! Groups that follow from another: ReInit and branch (RFC 9420 sections 11.2 and 11.3).

use mls_rs::error::MlsError;
use mls_rs::group::{CommitEffect, GroupContext};
use mls_rs::mls_rs_codec::{MlsDecode, MlsEncode};
use mls_rs::{ExtensionList, GroupStateStorage, MlsMessage};
use mls_rs_core::group::GroupState;
use tonic::Status;

use crate::desk::{epoch_authenticator, extensions, message, refused, tree, Desk, Reply, Seat};
use crate::member::{Member, MlsGroup};
use crate::proto;

/// In mls-rs' stored form of a group the GroupContext follows a two-byte version number.
const VERSION_BYTES: usize = 2;

/// A copy of `group` whose GroupContext lists `wanted`.
///
/// mls-rs takes it that a branch has its parent's extensions, when making one and when joining one. The checks
/// of RFC 9420 section 11.3 do not name extensions, and the interface lets the caller choose them. The library
/// has no way to state them, but its store has: the copy is written there, altered and loaded. It serves as
/// the parent of one branch and is then dropped.
fn with_extensions(member: &Member, group: &MlsGroup, wanted: ExtensionList) -> Reply<MlsGroup> {
    let mut copy = group.clone();
    copy.write_to_storage().map_err(refused)?;
    let mut store = member.client.group_state_storage();
    let written = store.state(group.group_id()).map_err(refused)?;
    let unknown = || Status::internal("mls-rs stores groups differently than this peer was written for");
    let written = written.ok_or_else(unknown)?;
    let (version, mut rest) = written.split_at_checked(VERSION_BYTES).ok_or_else(unknown)?;
    let mut context = GroupContext::mls_decode(&mut rest).map_err(refused)?;
    if context != *group.context() {
        return Err(unknown());
    }
    context.extensions = wanted;
    let altered = [version, &context.mls_encode_to_vec().map_err(refused)?, rest].concat();
    let state = GroupState { id: group.group_id().to_vec(), data: altered.into() };
    store.write(state, Vec::new(), Vec::new()).map_err(refused)?;
    member.client.load_group(group.group_id()).map_err(refused)
}

fn messages(listed: &[Vec<u8>]) -> Reply<Vec<MlsMessage>> {
    listed.iter().map(|bytes| message(bytes)).collect()
}

/// What the maker of a subgroup hands to the others: the Welcome and, if it goes separately, the tree.
fn handed_out(group: &MlsGroup, welcomes: &[MlsMessage], external_tree: bool) -> Reply<(Vec<u8>, Vec<u8>)> {
    let welcome = match welcomes {
        [] => Vec::new(),
        [welcome] => welcome.to_bytes().map_err(refused)?,
        _ => return Err(Status::internal("one Welcome for all newcomers was asked for")),
    };
    let tree = if external_tree { group.export_tree().to_bytes().map_err(refused)? } else { Vec::new() };
    Ok((welcome, tree))
}

/// ReInit: the group is closed by a commit, every member makes a key package for its successor.
impl Desk {
    pub fn re_init_commit(&mut self, request: proto::CommitRequest) -> Reply<proto::CommitResponse> {
        self.commit(request)
    }

    pub fn handle_re_init_commit(
        &mut self,
        request: proto::HandleCommitRequest,
    ) -> Reply<proto::HandleReInitCommitResponse> {
        let effect = self.follow(&request)?;
        self.close(request.state_id, effect)
    }

    pub fn handle_pending_re_init_commit(
        &mut self,
        request: proto::HandlePendingCommitRequest,
    ) -> Reply<proto::HandleReInitCommitResponse> {
        let effect = self.follow_own(request.state_id)?;
        self.close(request.state_id, effect)
    }

    fn close(&mut self, id: u32, effect: CommitEffect) -> Reply<proto::HandleReInitCommitResponse> {
        let CommitEffect::ReInit(closing) = effect else {
            return Err(Status::failed_precondition("the commit has no ReInit proposal"));
        };
        let (member, group) = self.seated(id)?;
        let (member, group) = (member.clone(), group.clone());
        let epoch_authenticator = epoch_authenticator(&group)?;
        // The successor may have another suite, and with it other keys.
        let signer = self.keys.signer(closing.proposal.new_cipher_suite(), &member.name)?;
        let reinit = group.get_reinit_client(Some(signer.secret), Some(signer.identity)).map_err(refused)?;
        let key_package =
            reinit.generate_key_package(None).and_then(|package| package.to_bytes()).map_err(refused)?;
        self.reseat(id, Seat::Closed(member, Box::new(reinit)));
        Ok(proto::HandleReInitCommitResponse { reinit_id: id, key_package, epoch_authenticator })
    }

    pub fn re_init_welcome(
        &mut self,
        request: proto::ReInitWelcomeRequest,
    ) -> Reply<proto::CreateSubgroupResponse> {
        let packages = messages(&request.key_package)?;
        let (member, reinit) = self.closed(request.reinit_id)?;
        member.rules.next_commit(request.force_path, request.external_tree, None);
        let (group, welcomes) = reinit.commit(packages, ExtensionList::new(), None).map_err(refused)?;
        let (welcome, ratchet_tree) = handed_out(&group, &welcomes, request.external_tree)?;
        let epoch_authenticator = epoch_authenticator(&group)?;
        self.reseat(request.reinit_id, Seat::Seated(member, Box::new(group)));
        Ok(proto::CreateSubgroupResponse {
            state_id: request.reinit_id,
            welcome,
            ratchet_tree,
            epoch_authenticator,
        })
    }

    pub fn handle_re_init_welcome(
        &mut self,
        request: proto::HandleReInitWelcomeRequest,
    ) -> Reply<proto::JoinGroupResponse> {
        let welcome = message(&request.welcome)?;
        let given = tree(&request.ratchet_tree)?;
        let (member, reinit) = self.closed(request.reinit_id)?;
        let (group, _) = reinit.join(&welcome, given, None).map_err(refused)?;
        let epoch_authenticator = epoch_authenticator(&group)?;
        self.reseat(request.reinit_id, Seat::Seated(member, Box::new(group)));
        Ok(proto::JoinGroupResponse { state_id: request.reinit_id, epoch_authenticator })
    }
}

/// Branch: the group stays, some of its members open another beside it.
impl Desk {
    pub fn create_branch(
        &mut self,
        request: proto::CreateBranchRequest,
    ) -> Reply<proto::CreateSubgroupResponse> {
        let packages = messages(&request.key_packages)?;
        let wanted = extensions(request.extensions)?;
        let (member, parent) = self.seated(request.state_id)?;
        let member = member.clone();
        member.rules.next_commit(request.force_path, request.external_tree, None);
        let (group, welcomes) = with_extensions(&member, parent, wanted)?
            .branch(request.group_id, packages, None)
            .map_err(refused)?;
        let (welcome, ratchet_tree) = handed_out(&group, &welcomes, request.external_tree)?;
        let epoch_authenticator = epoch_authenticator(&group)?;
        let state_id = self.seat(Seat::Seated(member, Box::new(group)));
        Ok(proto::CreateSubgroupResponse { state_id, welcome, ratchet_tree, epoch_authenticator })
    }

    pub fn handle_branch(
        &mut self,
        request: proto::HandleBranchRequest,
    ) -> Reply<proto::HandleBranchResponse> {
        let welcome = message(&request.welcome)?;
        let packages = self.waiting(request.transaction_id)?.client.key_package_store().key_packages();
        let (member, parent) = self.seated(request.state_id)?;
        let member = member.clone();
        for (id, package) in packages {
            member.client.key_package_store().insert(id, package);
        }
        let joined = match parent.join_subgroup(&welcome, tree(&request.ratchet_tree)?, None) {
            // Everything else was in order, else mls-rs had said so before it came to the extensions.
            Err(MlsError::ReInitExtensionsMismatch) => {
                let met =
                    member.extensions_met().ok_or_else(|| refused(MlsError::ReInitExtensionsMismatch))?;
                with_extensions(&member, parent, met)?.join_subgroup(
                    &welcome,
                    tree(&request.ratchet_tree)?,
                    None,
                )
            }
            other => other,
        };
        let (group, _) = joined.map_err(refused)?;
        let epoch_authenticator = epoch_authenticator(&group)?;
        self.reseat(request.transaction_id, Seat::Seated(member, Box::new(group)));
        Ok(proto::HandleBranchResponse { state_id: request.transaction_id, epoch_authenticator })
    }
}
