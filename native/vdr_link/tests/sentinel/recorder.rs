//! An owner of a monitor that records its reports.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vdr_link::{
    Access, Address, Answers, BoxFuture, HostMap, NotFound, Owner, Question, Role, SentinelConfig, SentinelHandle,
    spawn_sentinel,
};

use crate::fake::{Fake, View};

#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    Found(Result<Address, (&'static str, String)>),
    Switched(Address),
}

#[derive(Default)]
pub struct Recorder {
    notes: Mutex<Vec<Note>>,
    pub questions: Mutex<Vec<Question>>,
    pub is_streaming: Mutex<bool>,
    /// The answer to every question. `None`: the user's function fails.
    pub answer: Mutex<Option<String>>,
    /// How long an answer takes.
    pub answers_after: Mutex<Duration>,
}

impl Answers for Recorder {
    fn ask(&self, question: Question) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async {
            self.questions.lock().push(question);
            let wait = *self.answers_after.lock();
            tokio::time::sleep(wait).await;
            self.answer.lock().clone().map(String::into_bytes)
        })
    }
}

impl Owner for Recorder {
    fn is_streaming(&self) -> bool {
        *self.is_streaming.lock()
    }

    fn found(&self, found: Result<&Address, &NotFound>) {
        let found = found.cloned().map_err(|error| (error.code, error.detail.clone()));
        self.notes.lock().push(Note::Found(found));
    }

    fn switched(&self, primary: &Address) {
        self.notes.lock().push(Note::Switched(primary.clone()));
    }
}

pub struct Watched {
    pub owner: Arc<Recorder>,
    pub monitor: SentinelHandle,
}

pub fn config(sentinels: &[&Fake]) -> SentinelConfig {
    // So long that a busy machine does not make a Sentinel look silent.
    let access = Access { tls: None, timeout: Duration::from_secs(2), username: None, password: false };
    SentinelConfig {
        instance: 0,
        sentinels: sentinels.iter().map(|sentinel| sentinel.address.clone()).collect(),
        group: "g".to_owned(),
        role: Role::Primary,
        access: access.clone(),
        server_access: access,
        host_map: HostMap::Table(Default::default()),
        server_host: None,
        server_port: None,
    }
}

impl Watched {
    pub fn start(config: SentinelConfig) -> Self {
        let owner = Arc::<Recorder>::default();
        *owner.is_streaming.lock() = true;
        Watched { monitor: spawn_sentinel(config, owner.clone()).unwrap(), owner }
    }

    pub fn look_up(&self) -> Result<Address, (&'static str, String)> {
        self.owner.notes.lock().clear();
        self.monitor.look_up();
        match self.next() {
            Note::Found(found) => found,
            note => panic!("{note:?}"),
        }
    }

    /// Removes the next note and returns it.
    pub fn next(&self) -> Note {
        eventually("a note", || !self.owner.notes.lock().is_empty());
        self.owner.notes.lock().remove(0)
    }

    pub fn assert_quiet_for(&self, wait: Duration) {
        std::thread::sleep(wait);
        assert_eq!(*self.owner.notes.lock(), []);
    }
}

pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sentinels that know each other and name this primary.
pub fn cluster(count: usize, primary: &Address, epoch: Option<u64>) -> Vec<Fake> {
    let sentinels: Vec<Fake> = (0..count).map(|_| Fake::start(View::default())).collect();
    for (at, sentinel) in sentinels.iter().enumerate() {
        let others = sentinels.iter().enumerate().filter(|(other, _)| *other != at);
        *sentinel.view.lock() = View {
            id: format!("id{at}"),
            primary: Some(primary.clone()),
            epoch,
            others: others.map(|(other, fake)| (fake.address.clone(), format!("id{other}"))).collect(),
            ..View::default()
        };
    }
    sentinels
}
