//! A host that is one of several.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::time::sleep;

use wasm_core::{ComponentId, ComponentMessage, MessagingError};
use wasm_host::{
    Arrival, Carried, Carrier, DeadLetterCause, HostBuilder, HostLimits, NotTaken, Receipt, ReplyTo,
};
use wasm_testkit::wasm_fixtures::{ECHO, SLEEPER};

use crate::support::{SECOND, component, demo, start};

/// Carries nothing, and says whose components this host still has.
struct Owner {
    owns: AtomicBool,
}

#[async_trait]
impl Carrier for Owner {
    fn carries(&self, _: &ComponentMessage, _: bool, _: bool) -> bool {
        false
    }

    fn may_handle(&self, _: &ComponentId) -> bool {
        self.owns.load(Ordering::SeqCst)
    }

    async fn send(&self, _: ComponentMessage) -> Result<(), MessagingError> {
        Ok(())
    }

    async fn request(
        &self,
        _: ComponentMessage,
        reply: ReplyTo,
    ) -> Result<Box<dyn Carried>, MessagingError> {
        reply.forget();
        Err(MessagingError::QueueFull)
    }
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<&'static str>>);

impl Told {
    fn say(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn said(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Receipt for Told {
    async fn begin(&self) -> bool {
        self.say("begins");
        true
    }

    fn put_back(&self) {
        self.say("put back");
    }

    fn bury(&self, cause: &'static str, _: &str) {
        self.say(cause);
    }

    fn end(&self) {
        self.say("ends");
    }
}

fn arrival(name: &str, payload: &str, told: &Arc<Told>) -> Arrival {
    Arrival {
        message: ComponentMessage::new(demo("other"), demo(name), payload.to_owned()),
        reply: None,
        receipt: Arc::clone(told) as Arc<dyn Receipt>,
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_another_host_s_is_given_nothing_more() {
    let owner = Arc::new(Owner {
        owns: AtomicBool::new(true),
    });
    let host = start(HostBuilder::new().with_carrier(Arc::clone(&owner) as Arc<_>));
    host.load(component("sleeper", SLEEPER)).await.unwrap();
    // It sleeps for so many milliseconds.
    let running = tokio::spawn({
        let host = host.clone();
        async move { host.request(&demo("sleeper"), "1000", 10 * SECOND).await }
    });
    sleep(SECOND / 10).await;
    let waiting = tokio::spawn({
        let host = host.clone();
        async move { host.request(&demo("sleeper"), "1", 10 * SECOND).await }
    });
    let told = Arc::new(Told::default());
    host.post(arrival("sleeper", "1", &told)).unwrap();
    sleep(SECOND / 10).await;
    owner.owns.store(false, Ordering::SeqCst);
    assert_eq!(running.await.unwrap().unwrap(), Some("awake".into()));
    // What waited is not handled, and comes again from where it came.
    let waited = waiting.await.unwrap().unwrap_err();
    assert!(waited.to_string().contains("unloaded"), "{waited}");
    sleep(SECOND).await;
    assert_eq!(told.said(), ["put back"]);
    let id = demo("sleeper");
    let called = host.call(&id, "x", |_, _| async { Ok(()) });
    let called = called.await.unwrap_err();
    assert!(called.to_string().contains("leaving this host"), "{called}");
    let sent = host.send(&demo("sleeper"), "1").unwrap_err();
    assert!(matches!(sent, MessagingError::DeliveryFailed(_)), "{sent}");
    owner.owns.store(true, Ordering::SeqCst);
    assert!(host.request(&demo("sleeper"), "1", SECOND).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_given_to_anyone_says_so() {
    let limits = HostLimits::default().with_mailbox_bytes(10).with_hops(2);
    let host = start(HostBuilder::new().with_limits(limits));
    host.load(component("echo", ECHO)).await.unwrap();
    let told = Arc::new(Told::default());
    let nobody = host.post(arrival("nobody", "x", &told)).unwrap_err();
    assert!(matches!(nobody, NotTaken::NotHere), "{nobody:?}");
    let large = arrival("echo", "more than ten bytes", &told);
    let Err(NotTaken::Never(cause)) = host.post(large) else {
        panic!("it fits");
    };
    assert!(cause.to_string().contains("mailbox_bytes"), "{cause}");
    let mut far = arrival("echo", "x", &told);
    far.message = far.message.with_hops(3);
    let Err(NotTaken::Never(cause)) = host.post(far) else {
        panic!("it has not come too far");
    };
    assert!(matches!(&cause, DeadLetterCause::Undeliverable(_)));
    assert_eq!(told.said(), ["put back"; 3]);
    host.bury(arrival("echo", "x", &told), cause);
    assert_eq!(told.said()[3..], ["undeliverable", "ends"]);
    host.post(arrival("echo", "x", &told)).unwrap();
    host.drain(SECOND).await.unwrap();
    assert_eq!(told.said()[5..], ["begins", "ends"]);
}
