//! What the effects of a core do in the world.

use super::{
    events::Event,
    world::{P, World},
};
use fdbray_worker::core::Effects;

impl World {
    pub fn carry_out(&mut self, p: P, fx: Effects) {
        let Effects {
            flush, wake, runners, resume, abort, abandon, fetch, dial, close, ended_actors, ..
        } = fx;
        for flush in flush {
            let delay = if flush.urgent { 0 } else { self.random.range(0, 20_000) };
            let peer = self.at(flush.peer);
            self.after(delay, Event::Flush(p, peer));
        }
        wake.wake();
        let woken = std::mem::take(&mut *self.woken.lock().expect("one thread"));
        for (process, thread) in woken {
            let delay = self.random.range(0, 10_000);
            self.after(delay, Event::Step(process, thread));
        }
        for _ in 0..runners {
            self.call_runner(p, 10_000);
        }
        for key in resume {
            self.after(0, Event::Resume(p, key));
        }
        for key in abandon {
            self.after(0, Event::Abandon(p, key));
        }
        for task in abort {
            self.after(0, Event::Abort(p, task));
        }
        for fetch in fetch {
            let from: Vec<P> = fetch.places.all().map(|place| self.at(place)).collect();
            self.say(|| format!("p{p} fetches {} from p{from:?}", fetch.id));
            self.count(if from.len() > 1 { "(fetch with copies)" } else { "(fetch)" });
            self.fetch(p, from, fetch.id, fetch.places.attempt);
        }
        for peer in dial {
            let peer = self.at(peer);
            self.dial(p, peer);
        }
        for actor in ended_actors {
            self.actor_ended(p, actor);
        }
        for (peer, _) in close {
            let peer = self.at(peer);
            self.close(p, peer);
        }
    }
}
