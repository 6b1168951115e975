//! One member as mls-rs sees it: a client with its key, its stores, and the two hooks this peer needs.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mls_rs::client_builder::{BaseInMemoryConfig, WithCryptoProvider, WithIdentityProvider, WithMlsRules};
use mls_rs::crypto::SignatureSecretKey;
use mls_rs::group::{GroupContext, Member as RosterEntry, Roster};
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::identity::{CredentialType, SigningIdentity};
use mls_rs::mls_rules::{
    CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle, ProposalRef,
};
use mls_rs::time::MlsTime;
use mls_rs::{
    CipherSuite, CipherSuiteProvider, Client, CryptoProvider, ExtensionList, Group, IdentityProvider,
    MlsRules,
};
use mls_rs_core::identity::MemberValidationContext;
use tonic::Status;

use crate::crypto;
use crate::desk::{refused, Reply};

type Config = WithMlsRules<
    Rules,
    WithIdentityProvider<Watching, WithCryptoProvider<crypto::Provider, BaseInMemoryConfig>>,
>;
pub type MlsClient = Client<Config>;
pub type MlsGroup = Group<Config>;
pub type MlsReinit = mls_rs::group::ReinitClient<Config>;

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the caller asked for, read by mls-rs while it builds a message.
#[derive(Default)]
struct Wishes {
    encrypt_handshake: bool,
    force_path: bool,
    external_tree: bool,
    by_reference: Option<Vec<ProposalRef>>,
}

/// The caller's wishes as mls-rs' rules. mls-rs commits every proposal it has seen; the interface names those
/// to commit, so the others are held back here.
#[derive(Clone, Default)]
pub struct Rules(Arc<Mutex<Wishes>>);

impl Rules {
    pub fn encrypt_handshake(&self, wanted: bool) {
        held(&self.0).encrypt_handshake = wanted;
    }

    pub fn next_commit(&self, force_path: bool, external_tree: bool, by_reference: Option<Vec<ProposalRef>>) {
        let mut wishes = held(&self.0);
        wishes.force_path = force_path;
        wishes.external_tree = external_tree;
        wishes.by_reference = by_reference;
    }
}

impl MlsRules for Rules {
    type Error = Infallible;

    fn filter_proposals(
        &self,
        direction: CommitDirection,
        _source: CommitSource,
        _roster: &Roster,
        _context: &GroupContext,
        mut proposals: ProposalBundle,
    ) -> Result<ProposalBundle, Infallible> {
        if let (CommitDirection::Send, Some(named)) = (direction, &held(&self.0).by_reference) {
            proposals.retain(|proposal| {
                Ok::<_, Infallible>(proposal.proposal_ref().is_none_or(|reference| named.contains(reference)))
            })?;
        }
        Ok(proposals)
    }

    fn commit_options(
        &self,
        _roster: &Roster,
        _context: &GroupContext,
        _proposals: &ProposalBundle,
    ) -> Result<CommitOptions, Infallible> {
        let wishes = held(&self.0);
        Ok(CommitOptions::new()
            .with_path_required(wishes.force_path)
            .with_ratchet_tree_extension(!wishes.external_tree))
    }

    fn encryption_options(
        &self,
        _roster: &Roster,
        _context: &GroupContext,
    ) -> Result<EncryptionOptions, Infallible> {
        let mut options = EncryptionOptions::default();
        options.encrypt_control_messages = held(&self.0).encrypt_handshake;
        Ok(options)
    }
}

/// Basic credentials, all of them valid, remembering the extensions of the group last joined: a branch may
/// have others than its parent, and mls-rs has to be told which (see `subgroup`).
#[derive(Clone, Default)]
pub struct Watching {
    basic: BasicIdentityProvider,
    joining: Arc<Mutex<Option<ExtensionList>>>,
}

type IdentityError = <BasicIdentityProvider as IdentityProvider>::Error;

impl IdentityProvider for Watching {
    type Error = IdentityError;

    fn validate_member(
        &self,
        identity: &SigningIdentity,
        time: Option<MlsTime>,
        context: MemberValidationContext<'_>,
    ) -> Result<(), IdentityError> {
        if let MemberValidationContext::ForNewGroup { current_context } = context {
            *held(&self.joining) = Some(current_context.extensions.clone());
        }
        self.basic.validate_member(identity, time, context)
    }

    fn validate_external_sender(
        &self,
        identity: &SigningIdentity,
        time: Option<MlsTime>,
        extensions: Option<&ExtensionList>,
    ) -> Result<(), IdentityError> {
        self.basic.validate_external_sender(identity, time, extensions)
    }

    fn identity(
        &self,
        identity: &SigningIdentity,
        extensions: &ExtensionList,
    ) -> Result<Vec<u8>, IdentityError> {
        self.basic.identity(identity, extensions)
    }

    fn valid_successor(
        &self,
        predecessor: &SigningIdentity,
        successor: &SigningIdentity,
        extensions: &ExtensionList,
    ) -> Result<bool, IdentityError> {
        self.basic.valid_successor(predecessor, successor, extensions)
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        self.basic.supported_types()
    }
}

/// A signature key under a name.
#[derive(Clone)]
pub struct Signer {
    pub identity: SigningIdentity,
    pub secret: SignatureSecretKey,
}

impl Signer {
    pub fn generate(suite: CipherSuite, name: &[u8]) -> Reply<Self> {
        let provider = crypto::Provider::default()
            .cipher_suite_provider(suite)
            .ok_or_else(|| Status::unimplemented(format!("cipher suite {} is not in this build", *suite)))?;
        let (secret, public) = provider.signature_key_generate().map_err(refused)?;
        let credential = BasicCredential::new(name.to_vec()).into_credential();
        Ok(Self { identity: SigningIdentity::new(credential, public), secret })
    }
}

/// One signature key for each name and suite, as a member has who is in several groups. A branch needs it so:
/// its key packages come without the parent group (CreateKeyPackage), yet mls-rs goes on signing with the key
/// of the parent's leaf.
#[derive(Default)]
pub struct KeyRing(HashMap<(Vec<u8>, u16), Signer>);

impl KeyRing {
    pub fn signer(&mut self, suite: CipherSuite, name: &[u8]) -> Reply<Signer> {
        let place = (name.to_vec(), *suite);
        if let Some(signer) = self.0.get(&place) {
            return Ok(signer.clone());
        }
        let signer = Signer::generate(suite, name)?;
        self.0.insert(place, signer.clone());
        Ok(signer)
    }
}

/// Whoever this process plays: the same one before, in and after a group.
#[derive(Clone)]
pub struct Member {
    pub name: Vec<u8>,
    pub client: MlsClient,
    pub rules: Rules,
    watching: Watching,
}

impl Member {
    pub fn new(name: &[u8], suite: CipherSuite, signer: &Signer) -> Self {
        let rules = Rules::default();
        let watching = Watching::default();
        let client = Client::builder()
            .crypto_provider(crypto::Provider::default())
            .identity_provider(watching.clone())
            .mls_rules(rules.clone())
            .signing_identity(signer.identity.clone(), signer.secret.clone(), suite)
            .build();
        Self { name: name.to_vec(), client, rules, watching }
    }

    /// The GroupContext extensions of the group this member last tried to join, valid or not.
    pub fn extensions_met(&self) -> Option<ExtensionList> {
        held(&self.watching.joining).clone()
    }
}

/// The leaf of the member with this name; the interface knows members by their basic credential alone.
pub fn leaf_of(roster: &[RosterEntry], name: &[u8]) -> Reply<u32> {
    roster
        .iter()
        .find(|entry| {
            entry
                .signing_identity
                .credential
                .as_basic()
                .is_some_and(|credential| credential.identifier == name)
        })
        .map(|entry| entry.index)
        .ok_or_else(|| Status::not_found(format!("no member is called {}", String::from_utf8_lossy(name))))
}
