//! When watches fire, and when they end.

use super::*;

async fn watch(store: &Store, key: &'static [u8]) -> (Option<Vec<u8>>, Watch) {
    let watch =
        store.read(move |tx| async move { Ok::<_, StoreError>((tx.get(key).await?, tx.watch(key)?)) });
    watch.await.unwrap()
}

pub(super) async fn a_watch_fires_when_its_key_changes(make: Make) {
    let subject = fresh(make);
    let store = &subject.store;
    let (value, missing) = watch(store, b"a").await;
    assert_eq!(value, None);
    set(store, b"a", b"1").await;
    missing.await.unwrap();

    // Set up by a transaction that writes.
    let watch = store.transact(|tx| async move {
        tx.set(b"a", b"2")?;
        tx.watch(b"a")
    });
    let watch: Result<_, StoreError> = watch.await;
    set(store, b"a", b"3").await;
    watch.unwrap().await.unwrap();

    for change in [0, 1, 2] {
        let (_, watch) = self::watch(store, b"a").await;
        let change = store.transact(move |tx| async move {
            match change {
                0 => tx.add(b"a", 1),
                1 => tx.clear_range(b"a", b"b"),
                _ => tx.set(b"a", b""),
            }
        });
        let changed: Result<(), StoreError> = change.await;
        changed.unwrap();
        watch.await.unwrap();
    }
}

pub(super) async fn a_change_between_reading_and_waiting_is_not_missed(make: Make) {
    let subject = fresh(make);
    let writer = {
        let store = subject.store.clone();
        tokio::spawn(async move {
            for _ in 0..300 {
                store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    loop {
        let (value, watch) = watch(&subject.store, b"n").await;
        if number(value) == 300 {
            break;
        }
        watch.await.unwrap();
    }
    writer.await.unwrap();
}

pub(super) async fn the_watch_of_an_aborted_transaction_ends(make: Make) {
    let subject = fresh(make);
    let escaped: Arc<Mutex<Option<Watch>>> = Arc::default();
    let place = escaped.clone();
    let abort = subject.store.transact(move |tx| {
        let place = place.clone();
        async move {
            *place.lock().unwrap() = Some(tx.watch(b"a")?);
            Err::<(), _>(Refused)
        }
    });
    assert_eq!(abort.await, Err(Refused));
    let watch = escaped.lock().unwrap().take().unwrap();
    assert!(matches!(watch.await, Err(StoreError::Closed)));
}
