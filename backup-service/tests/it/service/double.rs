//! Keepers of state that hold it in memory, and a backup-service between them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use backup_service::{
    api::Api,
    backups::{Backups, Tools},
    restore::Heard,
    schedule::Schedule,
    settings::Settings,
    timer,
    transfer::StatefulService,
};
use chassis::{
    Clock, Identity, Peer, Role, StopSignal,
    transfer::{self, Accepts, Sender},
};
use cluster::Service;
use cluster_config::{
    BackupDocument,
    document::backup::{Keep, Plan},
};
use futures::{StreamExt, stream, stream::BoxStream};
use proto::{
    backup::{
        self as pb, backup_service_client::BackupServiceClient,
        backup_service_server::BackupServiceServer,
    },
    state::{
        DescribeRequest, DescribeResponse, ExportRequest, ExportResponse, ImportRequest,
        ImportResponse, State,
        export_response::Part,
        state_transfer_server::{StateTransfer, StateTransferServer},
    },
};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Server},
};

/// What a service has, and what was done to it.
#[derive(Debug)]
pub struct Held {
    pub entries: BTreeMap<String, Vec<u8>>,
    pub cluster_id: String,
    pub epoch: u64,
    /// Imports that replaced something.
    pub replaced: u32,
    /// The next that would is refused.
    pub refuses: bool,
    /// Somebody else restores just before the next one does.
    pub overtaken: bool,
    /// It would not take what it is sent, and says so when it looks at it.
    pub objects: bool,
    /// What it says that its state is in; it takes the first.
    pub format: u32,
    /// The backup-service has not heard yet that it is in another epoch.
    pub unheard: bool,
}

fn entries(entries: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, Vec<u8>)> {
    entries.iter().map(|(name, content)| (name.as_str(), content.clone())).collect()
}

/// A service of state.
#[derive(Clone)]
pub struct Double {
    service: Service,
    pub held: Arc<Mutex<Held>>,
    directory: PathBuf,
}

impl Double {
    fn new(service: Service, directory: PathBuf) -> Self {
        let entries =
            [("one".to_owned(), b"1".to_vec()), ("dir/large".to_owned(), vec![7; 700_000])].into();
        let held = Held {
            entries,
            cluster_id: "cluster-a".to_owned(),
            epoch: 1,
            replaced: 0,
            refuses: false,
            overtaken: false,
            objects: false,
            format: 1,
            unheard: false,
        };
        Self { service, held: Arc::new(Mutex::new(held)), directory }
    }

    pub fn entries(&self) -> BTreeMap<String, Vec<u8>> {
        self.held.lock().unwrap().entries.clone()
    }

    pub fn set(&self, name: &str, content: &str) {
        self.held.lock().unwrap().entries.insert(name.to_owned(), content.as_bytes().to_vec());
    }

    fn state(&self) -> State {
        let held = self.held.lock().unwrap();
        State {
            service: self.service.to_string(),
            format: held.format,
            cluster_id: held.cluster_id.clone(),
            epoch: held.epoch,
            taken_at: None,
            counts: [("entries".to_owned(), held.entries.len() as u64)].into(),
            facts: BTreeMap::new(),
            fingerprint: format!(
                "{} {:x?}",
                held.epoch,
                chassis::transfer::fingerprint(&entries(&held.entries))
            ),
        }
    }

    async fn serve(self) -> Channel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(StateTransferServer::new(self));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
    }
}

#[tonic::async_trait]
impl StateTransfer for Double {
    type ExportStream = BoxStream<'static, Result<ExportResponse, Status>>;
    type ImportStream = BoxStream<'static, Result<ImportResponse, Status>>;

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse { state: Some(self.state()) }))
    }

    async fn export(
        &self,
        _: Request<ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let (first, entries) =
            (ExportResponse { part: Some(Part::State(self.state())) }, self.entries());
        let (mut sender, receiver) = Sender::new(transfer::exported);
        tokio::spawn(async move {
            sender.send(first).await?;
            for (name, content) in entries {
                sender.entry(&name, content).await?;
            }
            sender.end().await
        });
        let stream = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn import(
        &self,
        request: Request<Streaming<ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let (this, mut incoming) = (self.clone(), request.into_inner());
        let answer = async move {
            let accepts = Accepts {
                service: this.service.as_str(),
                format: 1,
                directory: &this.directory,
                limit: 1 << 30,
            };
            let header = transfer::header(&mut incoming, accepts).await?;
            let parcel = transfer::content(&mut incoming, accepts).await?;
            if this.held.lock().unwrap().objects {
                return Err(Status::invalid_argument("line 1 of it makes no sense"));
            }
            if !header.check_only && std::mem::take(&mut this.held.lock().unwrap().overtaken) {
                this.held.lock().unwrap().epoch += 1;
            }
            if !header.expected.is_empty() && header.expected != this.state().fingerprint {
                return Err(Status::aborted(
                    "what is there is not what it was when it was looked at",
                ));
            }
            if !header.check_only {
                let mut held = this.held.lock().unwrap();
                if std::mem::take(&mut held.refuses) {
                    return Err(Status::failed_precondition("rollout 7 is running"));
                }
                held.entries = parcel
                    .entries()
                    .map(|entry| (entry.name.clone(), parcel.read(&entry.name).unwrap().unwrap()))
                    .collect();
                let epoch = held.epoch.max(header.after_epoch) + 1;
                (held.cluster_id, held.epoch, held.replaced) =
                    (header.cluster_id, epoch, held.replaced + 1);
            }
            Ok(ImportResponse {
                state: Some(this.state()),
                changes: vec![format!("{} changes", this.service)],
            })
        };
        Ok(Response::new(stream::once(answer).boxed()))
    }
}

/// A backup-service between two doubles.
pub struct Running {
    backups: Backups,
    pub client: BackupServiceClient<Channel>,
    pub registry: Double,
    pub config: Double,
    pub clock: Clock,
    settings: watch::Sender<Arc<Settings>>,
    pub directory: tempfile::TempDir,
}

pub fn plan(stores: &[&str], keep: Option<Keep>) -> Plan {
    let stores = stores.iter().map(|url| (*url).to_owned()).collect();
    Plan { schedule: "0 3 * * *".to_owned(), time_zone: "UTC".to_owned(), keep, stores }
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    pub async fn start_with(plan: Option<Plan>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), plan, "authority-a").await
    }

    pub async fn start_in(
        directory: tempfile::TempDir,
        plan: Option<Plan>,
        authority: &str,
    ) -> Self {
        let root = directory.path().to_owned();
        let clock = Clock::fixed("2026-11-22T02:59:00Z".parse().unwrap());
        let (registry, config) = (
            Double::new(Service::Registry, root.clone()),
            Double::new(Service::ConfigService, root),
        );
        Self::between(directory, plan, authority, clock, (registry, config)).await
    }

    /// Another backup-service of the same cluster, with a data dir of its own.
    pub async fn start_beside(other: &Self, plan: Option<Plan>) -> Self {
        let doubles = (other.registry.clone(), other.config.clone());
        Self::between(
            tempfile::tempdir().unwrap(),
            plan,
            "authority-a",
            other.clock.clone(),
            doubles,
        )
        .await
    }

    async fn between(
        directory: tempfile::TempDir,
        plan: Option<Plan>,
        authority: &str,
        clock: Clock,
        (registry, config): (Double, Double),
    ) -> Self {
        let root = directory.path().to_owned();
        let document = BackupDocument { plan };
        let (settings, configured) =
            watch::channel(Arc::new(Settings::new(&document, &root, clock.now()).unwrap()));
        let tools = Tools {
            name: "backup-service backup-service-1".to_owned(),
            clock: clock.clone(),
            services: vec![
                StatefulService::new(Service::ConfigService, config.clone().serve().await.into()),
                StatefulService::new(Service::Registry, registry.clone().serve().await.into()),
            ],
            authorities: vec![authority.to_owned()],
            pki: None,
            scratch: root.clone(),
            notes: root.join("catalog.json"),
            settings: configured,
        };
        let backups = Backups::new(tools);
        // Until the runtime of the test ends.
        tokio::spawn(timer::run(backups.clone(), StopSignal::default()));
        let held = Arc::clone(&registry.held);
        // Nobody is there, and everybody has heard.
        let members = Arc::new(move || {
            let held = held.lock().unwrap();
            Heard { epoch: if held.unheard { 0 } else { held.epoch }, instances: vec![instance()] }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            BackupServiceServer::with_interceptor(Api { backups: backups.clone(), members }, claim);
        tokio::spawn(
            Server::builder()
                .add_service(server)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let client = BackupServiceClient::connect(format!("http://{address}")).await.unwrap();
        Self { backups, client, registry, config, clock, settings, directory }
    }

    /// Time passes, and the timer looks at the clock.
    pub fn pass(&self, hours: i64) {
        self.clock.advance(jiff::SignedDuration::from_hours(hours));
        self.settings.send_modify(|_| ());
    }

    pub async fn create(&mut self) -> Result<pb::Backup, Status> {
        let mut stream = self.client.create_backup(pb::CreateBackupRequest {}).await?.into_inner();
        let mut last = None;
        while let Some(message) = stream.message().await? {
            last = message.backup;
        }
        Ok(last.expect("a backup at the end"))
    }

    pub async fn list(&mut self) -> pb::ListBackupsResponse {
        self.client.list_backups(pb::ListBackupsRequest {}).await.unwrap().into_inner()
    }

    pub async fn verify(&mut self, backup: &str) -> Result<pb::Backup, Status> {
        let mut stream = self
            .client
            .verify_backup(pb::VerifyBackupRequest { backup: backup.to_owned() })
            .await?
            .into_inner();
        let mut last = None;
        while let Some(message) = stream.message().await? {
            last = message.backup;
        }
        Ok(last.expect("a backup at the end"))
    }

    pub async fn plan(&mut self, backup: &str, adopt: bool) -> Result<pb::Plan, Status> {
        let mut stream = self
            .client
            .plan_restore(pb::PlanRestoreRequest { backup: backup.to_owned(), adopt })
            .await?
            .into_inner();
        let mut last = None;
        while let Some(message) = stream.message().await? {
            last = message.plan;
        }
        Ok(last.expect("a plan at the end"))
    }

    /// Plans and restores; answers the titles of the steps, and the backup of what was there
    /// before.
    pub async fn restore(
        &mut self,
        backup: &str,
        adopt: bool,
    ) -> Result<(Vec<String>, pb::Backup), Status> {
        let planned = self.plan(backup, adopt).await?.backup.unwrap();
        self.restore_exactly(&planned.id, &planned.sha256, adopt).await
    }

    pub async fn restore_exactly(
        &mut self,
        id: &str,
        sha256: &str,
        adopt: bool,
    ) -> Result<(Vec<String>, pb::Backup), Status> {
        let request =
            pb::RestoreRequest { backup: id.to_owned(), sha256: sha256.to_owned(), adopt };
        let mut stream = self.client.restore(request).await?.into_inner();
        let (mut steps, mut before) = (Vec::new(), None);
        while let Some(message) = stream.message().await? {
            let done = message.step.filter(|step| step.state() == pb::StepState::Done);
            steps.extend(done.map(|step| step.title));
            before = message.before;
        }
        Ok((steps, before.expect("a backup at the end")))
    }

    /// Has the schedule followed now, whoever else does the same.
    pub async fn follow_the_schedule(&self) -> Option<String> {
        let permit = self.backups.permit().await;
        let schedule = Schedule::new("0 3 * * *", "UTC", self.clock.now()).unwrap();
        self.backups.create_if_due(&permit, &schedule).await.unwrap().map(|made| made.id)
    }

    pub fn archive(&self, id: &str) -> PathBuf {
        self.directory.path().join("backups").join(format!("shoal-{id}.tar.zst"))
    }

    /// Imports that replaced something.
    pub fn replaced(&self) -> u32 {
        [&self.registry, &self.config]
            .map(|double| double.held.lock().unwrap().replaced)
            .iter()
            .sum()
    }
}

fn claim(mut request: Request<()>) -> Result<Request<()>, Status> {
    let identity = Identity::new(Role::Operator, "ann");
    request.extensions_mut().insert(Peer {
        identity: Some(identity),
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        hosts: Vec::new(),
    });
    Ok(request)
}

fn instance() -> cluster::InstanceStatus {
    let instance = proto::registry::Instance {
        service: "proxy-node".to_owned(),
        name: "proxy-node-1".to_owned(),
        id: chassis::random::id().to_string(),
        ..Default::default()
    };
    let message = proto::registry::InstanceStatus {
        instance: Some(instance),
        state: proto::registry::State::Usable.into(),
        admin_state: proto::registry::AdminState::Ready.into(),
        registered_at: Some(Default::default()),
        changed_at: Some(Default::default()),
        lease_expires_at: Some(Default::default()),
        ..Default::default()
    };
    cluster::InstanceStatus::try_from(message).unwrap()
}

/// Nothing of a state that would only stand in the way of a comparison.
pub fn parts(backup: &pb::Backup) -> Vec<(String, u64)> {
    backup.parts.iter().map(|part| (part.service.clone(), part.counts["entries"])).collect()
}
