//! A config-service that assigns what the test says and remembers the answers.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{Stream, StreamExt};
use proto::config::{
    Acknowledgement, Assignment, CommitRequest, CommitResponse, ControlRolloutRequest,
    ControlRolloutResponse, DiffRequest, DiffResponse, FetchFileRequest, FetchFileResponse,
    FileReference, GetDriftRequest, GetDriftResponse, GetRevisionRequest, GetRevisionResponse,
    Hello, ListRevisionsRequest, ListRevisionsResponse, RollbackRequest, RollbackResponse,
    StartRolloutRequest, StartRolloutResponse, SubscribeRequest, SubscribeResponse,
    ValidateRequest, ValidateResponse, WatchRolloutRequest, WatchRolloutResponse,
    config_service_server::{ConfigService, ConfigServiceServer},
    subscribe_request::Message,
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

use crate::support::{POLICY, Running, World, start};

#[derive(Default)]
pub struct Memory {
    pub hellos: Vec<Hello>,
    pub acknowledgements: Vec<Acknowledgement>,
    pub files: HashMap<String, Vec<u8>>,
    pub fetched: Vec<String>,
}

#[derive(Clone)]
pub struct ConfigDouble {
    memory: Arc<Mutex<Memory>>,
    assignment: watch::Sender<Option<Assignment>>,
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ConfigDouble {
    pub fn new() -> Self {
        Self { memory: Arc::default(), assignment: watch::Sender::new(None) }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    pub fn start(&self, world: &World, registry: SocketAddr) -> Running {
        let double = self.clone();
        start("config-service", world.options("config-1", Some(registry), &[]), move |process| {
            process.serve_grpc(
                tonic::service::Routes::new(ConfigServiceServer::new(double)),
                &POLICY,
            )?;
            process.register();
            Ok(())
        })
    }

    /// Assigns a document with one file; answers the document's hash.
    pub fn assign(&self, revision: &str, document: &str, file: &str) -> String {
        let (hash, sha) = (sha256(document.as_bytes()), sha256(file.as_bytes()));
        self.memory().files.insert(sha.clone(), file.as_bytes().to_vec());
        let files = vec![FileReference {
            path: "lists/a.txt".to_owned(),
            sha256: sha,
            size: file.len() as u64,
        }];
        let document = document.as_bytes().to_vec();
        self.assign_raw(Assignment {
            revision: revision.to_owned(),
            hash: hash.clone(),
            document,
            files,
        });
        hash
    }

    pub fn assign_raw(&self, assignment: Assignment) {
        self.assignment.send_replace(Some(assignment));
    }

    /// What the answer to the assignment of a revision, once it has come, says of the cause.
    pub fn cause(&self, revision: &str) -> Option<proto::config::Cause> {
        let memory = self.memory();
        let answer =
            memory.acknowledgements.iter().rev().find(|answer| answer.revision == revision)?;
        answer.problems.first().map(proto::config::Problem::cause)
    }

    /// The answer to the assignment of a revision, once it has come.
    pub fn answer(&self, revision: &str) -> Option<Vec<String>> {
        let memory = self.memory();
        let answer =
            memory.acknowledgements.iter().rev().find(|answer| answer.revision == revision)?;
        Some(answer.problems.iter().map(|problem| problem.message.clone()).collect())
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn not_here<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not in this double"))
}

#[tonic::async_trait]
impl ConfigService for ConfigDouble {
    type SubscribeStream = Answers<SubscribeResponse>;
    type FetchFileStream = Answers<FetchFileResponse>;
    type WatchRolloutStream = Answers<WatchRolloutResponse>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (this, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                match request.message {
                    Some(Message::Hello(hello)) => this.memory().hellos.push(hello),
                    Some(Message::Acknowledgement(answer)) => {
                        this.memory().acknowledgements.push(answer)
                    }
                    _ => {}
                }
            }
        });
        let assignments = WatchStream::new(self.assignment.subscribe());
        Ok(Response::new(Box::pin(assignments.filter_map(|assignment| {
            std::future::ready(
                assignment.map(|assignment| Ok(SubscribeResponse { assignment: Some(assignment) })),
            )
        }))))
    }

    async fn fetch_file(
        &self,
        request: Request<FetchFileRequest>,
    ) -> Result<Response<Self::FetchFileStream>, Status> {
        let sha = request.into_inner().sha256;
        let mut memory = self.memory();
        memory.fetched.push(sha.clone());
        let bytes =
            memory.files.get(&sha).cloned().ok_or_else(|| Status::not_found("no such file"))?;
        let pieces: Vec<_> =
            bytes.chunks(3).map(|piece| Ok(FetchFileResponse { data: piece.to_vec() })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn validate(
        &self,
        _: Request<Streaming<ValidateRequest>>,
    ) -> Result<Response<ValidateResponse>, Status> {
        not_here()
    }
    async fn commit(
        &self,
        _: Request<Streaming<CommitRequest>>,
    ) -> Result<Response<CommitResponse>, Status> {
        not_here()
    }
    async fn get_revision(
        &self,
        _: Request<GetRevisionRequest>,
    ) -> Result<Response<GetRevisionResponse>, Status> {
        not_here()
    }
    async fn list_revisions(
        &self,
        _: Request<ListRevisionsRequest>,
    ) -> Result<Response<ListRevisionsResponse>, Status> {
        not_here()
    }
    async fn diff(&self, _: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        not_here()
    }
    async fn rollback(
        &self,
        _: Request<RollbackRequest>,
    ) -> Result<Response<RollbackResponse>, Status> {
        not_here()
    }
    async fn start_rollout(
        &self,
        _: Request<StartRolloutRequest>,
    ) -> Result<Response<StartRolloutResponse>, Status> {
        not_here()
    }
    async fn control_rollout(
        &self,
        _: Request<ControlRolloutRequest>,
    ) -> Result<Response<ControlRolloutResponse>, Status> {
        not_here()
    }
    async fn watch_rollout(
        &self,
        _: Request<WatchRolloutRequest>,
    ) -> Result<Response<Self::WatchRolloutStream>, Status> {
        not_here()
    }
    async fn get_drift(
        &self,
        _: Request<GetDriftRequest>,
    ) -> Result<Response<GetDriftResponse>, Status> {
        not_here()
    }
}
