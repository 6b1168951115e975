//! The gRPC side: one HTTP/2 connection per client of ours, every call answered in turn by the `Desk`.

use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::desk::Desk;
use crate::proto;
use crate::proto::mls_client_server::{MlsClient, MlsClientServer};

/// A ratchet tree of ten thousand members travels in one message, well over gRPC's usual 4 MiB.
const LARGEST_MESSAGE: usize = 64 << 20;

/// The service. The calls of one process are few and short, so they share one lock and one thread.
struct Peer(Mutex<Desk>);

impl Peer {
    /// A call that panicked must not take the later ones down with it.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands every call to the `Desk` method of the same name. The trait it implements is generated from the
/// interface, so a call left out does not compile.
macro_rules! answer {
    ($($call:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl MlsClient for Peer {
            $(
                async fn $call(
                    &self,
                    request: Request<proto::$request>,
                ) -> Result<Response<proto::$response>, Status> {
                    self.desk().$call(request.into_inner()).map(Response::new)
                }
            )*
        }
    };
}

answer! {
    name(NameRequest) -> NameResponse;
    supported_ciphersuites(SupportedCiphersuitesRequest) -> SupportedCiphersuitesResponse;
    create_group(CreateGroupRequest) -> CreateGroupResponse;
    create_key_package(CreateKeyPackageRequest) -> CreateKeyPackageResponse;
    join_group(JoinGroupRequest) -> JoinGroupResponse;
    external_join(ExternalJoinRequest) -> ExternalJoinResponse;
    group_info(GroupInfoRequest) -> GroupInfoResponse;
    state_auth(StateAuthRequest) -> StateAuthResponse;
    export(ExportRequest) -> ExportResponse;
    protect(ProtectRequest) -> ProtectResponse;
    unprotect(UnprotectRequest) -> UnprotectResponse;
    store_psk(StorePskRequest) -> StorePskResponse;
    add_proposal(AddProposalRequest) -> ProposalResponse;
    update_proposal(UpdateProposalRequest) -> ProposalResponse;
    remove_proposal(RemoveProposalRequest) -> ProposalResponse;
    external_psk_proposal(ExternalPskProposalRequest) -> ProposalResponse;
    resumption_psk_proposal(ResumptionPskProposalRequest) -> ProposalResponse;
    group_context_extensions_proposal(GroupContextExtensionsProposalRequest) -> ProposalResponse;
    commit(CommitRequest) -> CommitResponse;
    handle_commit(HandleCommitRequest) -> HandleCommitResponse;
    handle_pending_commit(HandlePendingCommitRequest) -> HandleCommitResponse;
    re_init_proposal(ReInitProposalRequest) -> ProposalResponse;
    re_init_commit(CommitRequest) -> CommitResponse;
    handle_pending_re_init_commit(HandlePendingCommitRequest) -> HandleReInitCommitResponse;
    handle_re_init_commit(HandleCommitRequest) -> HandleReInitCommitResponse;
    re_init_welcome(ReInitWelcomeRequest) -> CreateSubgroupResponse;
    handle_re_init_welcome(HandleReInitWelcomeRequest) -> JoinGroupResponse;
    create_branch(CreateBranchRequest) -> CreateSubgroupResponse;
    handle_branch(HandleBranchRequest) -> HandleBranchResponse;
    new_member_add_proposal(NewMemberAddProposalRequest) -> NewMemberAddProposalResponse;
    create_external_signer(CreateExternalSignerRequest) -> CreateExternalSignerResponse;
    add_external_signer(AddExternalSignerRequest) -> ProposalResponse;
    external_signer_proposal(ExternalSignerProposalRequest) -> ProposalResponse;
    free(FreeRequest) -> FreeResponse;
}

/// Serves until the process is ended.
pub fn run(port: u16) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(port))
}

async fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let peer = Arc::new(Peer(Mutex::new(Desk::default())));
    let service = MlsClientServer::from_arc(peer)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);

    println!("listening {}", listener.local_addr()?.port());
    std::io::stdout().flush()?;

    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            // An answer leaves in several small writes; without this the last waits for the first to be
            // acknowledged, 40 ms on Linux. A peer that has already gone shows below.
            let _ = stream.set_nodelay(true);
            let connection = http2::Builder::new(TokioExecutor::new());
            if let Err(reason) = connection.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("vcd-peer-mls-rs: a connection ended: {reason}");
            }
        });
    }
}
