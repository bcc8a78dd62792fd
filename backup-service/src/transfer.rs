//! The other side of `StateTransfer`: taking the state out of a service, and sending it back.

use std::{io::Read, path::Path, time::Duration};

use chassis::{
    ServiceChannel,
    connect::explain,
    transfer::{self, Malformed, NEXT_WITHIN, PIECE, Parcel, Sender, Spool},
};
use cluster::Service;
use futures::StreamExt;
use proto::state::{
    DescribeRequest, ExportRequest, ImportHeader, ImportRequest, ImportResponse, State,
    export_response::Part, import_request, state_transfer_client::StateTransferClient,
};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// The services that keep state, in the order in which it is put back: first what can be refused
/// for more reasons.
pub const STATEFUL: [Service; 2] = [Service::ConfigService, Service::Registry];
/// What one service may have.
const LARGEST: u64 = 8 << 30;
/// An account of a million entries.
const MESSAGE: usize = 256 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// From the last piece to what came of it: all of it is written in one transaction.
const RESTORED_WITHIN: Duration = Duration::from_secs(30 * 60);

/// A service did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not answer, or refuses.
    #[error("{}", said(.0, .1))]
    Status(Service, Status),
    /// What it sends is not whole.
    #[error("what the {0} sends is not whole: {1}; try again, and look at its log")]
    Malformed(Service, #[source] Malformed),
    /// What it sends cannot be kept here.
    #[error("the state of the {0} cannot be taken: {1}; nothing was changed")]
    Disk(Service, #[source] Malformed),
}

impl Error {
    /// What became of an import that ended so.
    #[must_use]
    pub fn fate(&self) -> &'static str {
        match self {
            Self::Status(_, status) if is_silence(status) => "it has taken all of it or nothing",
            _ => "it has taken nothing of it",
        }
    }
}

/// Whether there was no answer, as far as can be told: who sends details was there.
fn is_silence(status: &Status) -> bool {
    let silent = matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled
    );
    silent && status.details().is_empty()
}

fn said(service: &Service, status: &Status) -> String {
    match status.code() {
        _ if is_silence(status) => {
            format!(
                "the {service} cannot be reached ({}): see whether it runs (`shoal status`, its \
                 log)",
                explain(status)
            )
        }
        Code::PermissionDenied => format!(
            "the {service} refuses this certificate ({}): it has to be a backup-service's",
            status.message()
        ),
        _ => format!("the {service} refuses: {}", status.message().trim_end_matches('.')),
    }
}

/// One service that keeps state.
#[derive(Clone, Debug)]
pub struct StatefulService {
    service: Service,
    client: StateTransferClient<ServiceChannel>,
}

impl StatefulService {
    /// Through this channel.
    #[must_use]
    pub fn new(service: Service, channel: ServiceChannel) -> Self {
        Self {
            service,
            client: StateTransferClient::new(channel).max_decoding_message_size(MESSAGE),
        }
    }

    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    fn failed(&self, status: Status) -> Error {
        Error::Status(self.service, status)
    }

    fn malformed(&self, problem: Malformed) -> Error {
        if matches!(problem, Malformed::Disk { .. }) {
            Error::Disk(self.service, problem)
        } else {
            Error::Malformed(self.service, problem)
        }
    }

    fn late(&self) -> Error {
        self.failed(Status::deadline_exceeded("no answer in time"))
    }

    /// What there is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn describe(&self) -> Result<State, Error> {
        let mut client = self.client.clone();
        let answer = timeout(ANSWER_WITHIN, client.describe(DescribeRequest {}))
            .await
            .map_err(|_| self.late())?;
        Ok(answer.map_err(|status| self.failed(status))?.into_inner().state.unwrap_or_default())
    }

    /// Everything there is, put together in `directory`. `progress` hears how many bytes have come.
    ///
    /// # Errors
    /// It does not answer, or what comes is not whole.
    pub async fn export(
        &self,
        directory: &Path,
        progress: impl Fn(u64),
    ) -> Result<(State, Parcel), Error> {
        let mut client = self.client.clone();
        let malformed = |problem: Malformed| self.malformed(problem);
        let answer = timeout(ANSWER_WITHIN, client.export(ExportRequest {}))
            .await
            .map_err(|_| self.late())?;
        let mut stream = answer.map_err(|status| self.failed(status))?.into_inner();
        let mut spool = Spool::create(directory, LARGEST).map_err(malformed)?;
        let (mut state, mut come) = (None, 0);
        loop {
            let message = timeout(NEXT_WITHIN, stream.message()).await.map_err(|_| self.late())?;
            match message.map_err(|status| self.failed(status))?.and_then(|message| message.part) {
                Some(Part::State(begins)) => state = Some(begins),
                Some(Part::Chunk(chunk)) => {
                    come += chunk.data.len() as u64;
                    spool.push(&chunk).map_err(malformed)?;
                    progress(come);
                }
                Some(Part::End(end)) => {
                    let state = state.ok_or_else(|| {
                        malformed(Malformed::OutOfPlace("an export without its beginning"))
                    })?;
                    return Ok((state, spool.finish(&end).map_err(malformed)?));
                }
                None => {
                    return Err(malformed(Malformed::OutOfPlace(
                        "the export ended before its end was sent",
                    )));
                }
            }
        }
    }

    /// Sends everything back; with `check_only` in the header, nothing is touched.
    ///
    /// # Errors
    /// It refuses or does not answer; then nothing is touched either, unless the answer was lost.
    pub async fn import(
        &self,
        header: ImportHeader,
        parcel: &Parcel,
    ) -> Result<ImportResponse, Error> {
        let mut client = self.client.clone();
        let (sender, receiver) = Sender::new(transfer::imported);
        let requests =
            ReceiverStream::new(receiver).filter_map(|message| std::future::ready(message.ok()));
        let answering = async {
            let mut stream = client.import(requests).await?.into_inner();
            stream.message().await?.ok_or_else(|| Status::unknown("it ended without an answer"))
        };
        let (sent, answer) =
            tokio::join!(send(sender, header, parcel), timeout(RESTORED_WITHIN, answering));
        let answer = answer.map_err(|_| self.late())?.map_err(|status| self.failed(status));
        // Who refuses stops listening: its reason is the better one.
        match (sent, answer) {
            (_, Err(failed)) => Err(failed),
            (Err(status), Ok(_)) => Err(self.failed(status)),
            (Ok(()), Ok(answer)) => Ok(answer),
        }
    }
}

async fn send(
    mut sender: Sender<ImportRequest>,
    header: ImportHeader,
    parcel: &Parcel,
) -> Result<(), Status> {
    let gone = |gone: transfer::Gone| Status::unavailable(gone.to_string());
    sender
        .send(ImportRequest { part: Some(import_request::Part::Header(header)) })
        .await
        .map_err(gone)?;
    let mut buffer = vec![0; PIECE];
    for entry in parcel.entries() {
        sender.begin(&entry.name).await.map_err(gone)?;
        let Some(mut content) = parcel.open(&entry.name) else { continue };
        loop {
            let read =
                content.read(&mut buffer).map_err(|error| Status::data_loss(error.to_string()))?;
            if read == 0 {
                break;
            }
            sender.piece(&buffer[..read]).await.map_err(gone)?;
        }
    }
    sender.end().await.map_err(gone)
}
