//! Forms in which an actor may be written, and what its handle takes.

use super::*;

pub enum Light {
    On,
    Off,
}

mod elsewhere {
    use fdbray::prelude::*;

    // By its path, from another module than the type's; the handle is here.
    #[actor(pub(in super::super))]
    impl super::Light {
        pub const LEVELS: usize = 2;

        pub fn on() -> super::Light {
            super::Light::On
        }
        pub async fn checked(level: u8) -> anyhow::Result<Self> {
            anyhow::ensure!(level == 0);
            Ok(Self::Off)
        }
        pub fn from_levels(levels: [u8; Self::LEVELS]) -> Result<super::Light, String> {
            Err(format!("{levels:?}"))
        }
        pub fn r#switch(self: &mut Self) {
            *self = super::Light::Off;
        }
        pub fn is_on(self: &Self) -> bool {
            matches!(self, Self::On)
        }
        pub fn boxed(self: Box<Self>) {}
        pub fn stop(&self, hard: bool) -> bool {
            hard
        }
    }
    pub(in super::super) type Handle = LightHandle;
}

macro_rules! actor {
    ($name:ident, $held:ty) => {
        struct $name($held);

        #[actor]
        impl $name {
            pub fn new(held: $held) -> Self {
                $name(held)
            }
            pub fn held(&mut self, other: &$held) -> $held {
                std::mem::replace(&mut self.0, other.clone())
            }
        }
    };
}
actor!(Text, String);
actor!(Numbers, Vec<Option<u8>>);

#[deprecated]
struct Old;

#[actor]
#[deprecated]
#[cfg(target_os = "linux")]
#[allow(deprecated)]
impl Old {
    pub fn new() -> Self {
        Old
    }
}

#[cfg(target_os = "windows")]
struct Elsewhere;

#[actor]
#[cfg(target_os = "windows")]
impl Elsewhere {
    pub fn new() -> Self {
        Elsewhere
    }
}

// An actor that is `Clone` and can travel itself.
#[derive(Clone, Serialize, Deserialize)]
struct Travels;

#[actor]
impl Travels {
    pub fn new() -> Self {
        Travels
    }
    pub fn with(&self, other: Self, others: Vec<Self>) -> Option<Self> {
        others.into_iter().chain([other]).next()
    }
    pub fn handles(&mut self, others: HashMap<String, TravelsHandle>) -> (u8, TravelsHandle) {
        (0, others["a"].clone())
    }
}

pub(super) async fn all(levels: RemoteFuture<[u8; 2]>) -> fdbray::Result<()> {
    let light: elsewhere::Handle = Light::remote_on();
    let _: [elsewhere::Handle; 2] = [Light::remote_checked(0), Light::remote_from_levels(levels)];
    light.switch().await?;
    let _: bool = light.is_on().await?;
    // The actor's own comes first.
    let _: bool = light.stop(true).await?;
    ActorHandle::stop(&light).await?;

    let text = Text::remote("some");
    let numbers = Numbers::options().cpus(1).cpus(0.5).remote(vec![None, Some(1)]);
    let _: String = text.held(text.held("other")).await?;
    let _ = numbers.held(vec![]).wait();

    let travels = Travels::remote();
    let _: Option<Travels> = travels.with(Travels, vec![]).await?;
    let again = travels.handles(HashMap::from([("a".to_owned(), travels.clone())])).await?.1;
    let task = tokio::spawn(async move { again.ready().await });
    fn is_handle<H: ActorHandle>(_: &H) {}
    is_handle(&travels);
    drop(task);
    Ok(())
}
