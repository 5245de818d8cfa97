//! What goes wrong: crashes, pauses, cuts; who joins late; fetches that fail.

use super::{
    scenario::resources,
    world::{Event, P, World},
};
use fdbray_worker::{core::MILLISECOND, id::ObjectId};

impl World {
    pub fn plan_faults(&mut self) {
        let faults = &self.scenario.faults;
        let until = faults.until;
        let kinds: [(usize, fn() -> Event); 4] = [
            (faults.crashes, || Event::Crash),
            (faults.pauses, || Event::Pause),
            (faults.cuts, || Event::CutSome),
            (faults.late, || Event::Late),
        ];
        for (count, event) in kinds {
            for _ in 0..count {
                let at = self.random.scale(100_000, until);
                self.schedule(at, event());
            }
        }
        self.schedule(until, Event::FaultsOver);
    }

    fn some_process(&mut self, which: impl Fn(&World, P) -> bool) -> Option<P> {
        let found: Vec<P> = (0..self.all.len()).filter(|p| self.all[*p].alive && which(self, *p)).collect();
        (!found.is_empty()).then(|| self.random.pick(&found))
    }

    pub fn crash_some(&mut self) {
        let drivers = self.scenario.faults.driver_crashes && self.random.percent(20);
        let Some(dead) = self.some_process(|w, p| w.all[p].dialable != drivers) else { return };
        self.say(|| format!("p{dead} crashes"));
        let mains = self.all[dead].threads.values().filter(|t| t.is_main()).count();
        self.mains_open -= mains;
        let process = &mut self.all[dead];
        process.alive = false;
        process.threads.clear();
        process.handles.clear();
        process.released.clear();
        self.notice_crash(dead);
        // A private cluster starts a worker again.
        if !drivers && self.random.percent(60) {
            let delay = self.random.scale(1_000_000, 1_000_000_000);
            self.after(delay, Event::Late);
        }
    }

    pub fn pause_some(&mut self) {
        let Some(p) = self.some_process(|_, _| true) else { return };
        let length = self.random.scale(1_000_000, 3_000_000_000);
        self.say(|| format!("p{p} pauses for {length} ns"));
        self.all[p].paused_until = self.all[p].paused_until.max(self.now + length);
    }

    pub fn cut_some(&mut self) {
        let alive = |(a, b): &(P, P)| self.all[*a].alive && self.all[*b].alive;
        let standing: Vec<(P, P)> = self.net.standing().into_iter().filter(alive).collect();
        if !standing.is_empty() {
            let (a, b) = self.random.pick(&standing);
            self.cut(a, b);
        }
    }

    pub fn join_late(&mut self) {
        let capacity = resources(self.random.range(1, 4), self.random.percent(50));
        let p = self.add_process(Some(capacity), true);
        self.say(|| format!("p{p} joins"));
    }

    /// From now on nothing fails; whatever was lost is there again.
    pub fn faults_over(&mut self) {
        self.say(|| "the faults are over".to_owned());
        if self.weather.losses > 0 || self.all.iter().any(|p| !p.alive) {
            let p = self.add_process(Some(resources(4, true)), true);
            self.say(|| format!("p{p} joins"));
        }
    }

    /// A core wants a value that another process has.
    pub fn fetch(&mut self, to: P, from: P, id: ObjectId) {
        let delay = self.delay();
        if self.all[from].alive {
            self.after(delay, Event::Serve { to, from, id });
        } else {
            self.weather.failed_fetches += 1;
            let from = self.all[from].id;
            self.after(delay + MILLISECOND, Event::Fetched { to, from, id, value: None });
        }
    }

    pub fn serve(&mut self, to: P, from: P, id: ObjectId) {
        let chance = self.scenario.faults.failed_fetches;
        let fails = self.now < self.scenario.faults.until && self.random.percent(chance);
        let alive = self.all[from].alive;
        let mut value = if alive { self.all[from].core.object(id) } else { None };
        if !alive || (fails && value.is_some()) {
            self.weather.failed_fetches += 1;
            value = None;
        }
        let delay = self.delay();
        let from = self.all[from].id;
        self.after(delay, Event::Fetched { to, from, id, value });
    }
}
