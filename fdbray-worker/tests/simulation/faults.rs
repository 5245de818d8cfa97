//! What goes wrong: crashes, pauses, cuts; who joins late; fetches that fail.

use super::{
    events::Event,
    scenario::resources,
    world::{P, World},
};
use fdbray_worker::{
    core::{Found, Got, MILLISECOND, Nanos, SetAside},
    id::ObjectId,
    objects::Spilled,
    payload::Payload,
};

impl World {
    pub fn plan_faults(&mut self) {
        let faults = &self.scenario.faults;
        let until = faults.until;
        let kinds: [(usize, fn() -> Event); 5] = [
            (faults.drains, || Event::Drain),
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
        if self.scenario.faults.driver_ends {
            let at = self.random.scale(100_000, until);
            self.schedule(at, Event::End);
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
        self.vanish(dead);
        // A private cluster starts a worker again.
        if !drivers && self.random.percent(60) {
            let delay = self.random.scale(1_000_000, 1_000_000_000);
            self.after(delay, Event::Late);
        }
    }

    /// A driver ends its runtime: everything that it waits for ends.
    pub fn end_some(&mut self) {
        let Some(p) = self.some_process(|w, p| !w.all[p].dialable) else { return };
        self.say(|| format!("p{p} ends its runtime"));
        self.weather.ended = true;
        self.call(p, |core, fx| core.end(fx));
        assert!(self.all[p].core.unsettled().is_empty(), "p{p} ended and has pending futures");
    }

    fn vanish(&mut self, dead: P) {
        let mains = self.all[dead].threads.values().filter(|t| t.is_main()).count();
        self.mains_open -= mains;
        let process = &mut self.all[dead];
        process.alive = false;
        process.threads.clear();
        process.states.clear();
        process.lasting.clear();
        process.handles.clear();
        process.released.clear();
        self.notice_end(dead);
    }

    /// A worker is asked to leave in order.
    pub fn drain_some(&mut self) {
        let Some(p) = self.some_process(|w, p| w.all[p].dialable && !w.all[p].leaves) else { return };
        self.say(|| format!("p{p} drains"));
        self.all[p].leaves = true;
        self.weather.left = true;
        for q in (0..self.all.len()).filter(|q| *q != p && self.all[*q].alive).collect::<Vec<_>>() {
            let delay = self.random.scale(1_000, 1_000_000_000);
            self.after(delay, Event::Left(q, p, false));
        }
        self.call(p, |core, fx| core.drain(fx));
        let grace = self.random.scale(5 * MILLISECOND, 3_000 * MILLISECOND);
        self.after(MILLISECOND, Event::Leave(p, self.now + grace));
    }

    pub fn leave_if_drained(&mut self, p: P, latest: Nanos) {
        if self.now < latest && !self.all[p].core.is_drained() {
            return self.after(5 * MILLISECOND, Event::Leave(p, latest));
        }
        self.say(|| format!("p{p} leaves"));
        self.count(if self.now < latest { "(left drained)" } else { "(left at the end of its grace)" });
        self.vanish(p);
        if self.now >= self.scenario.faults.until {
            self.rescue();
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

    /// From now on nothing fails.
    pub fn faults_over(&mut self) {
        self.say(|| "the faults are over".to_owned());
        self.rescue();
    }

    /// Whatever was lost is there again.
    fn rescue(&mut self) {
        if self.weather.losses > 0 || self.all.iter().any(|p| !p.alive) {
            let p = self.add_process(Some(resources(4, true)), true);
            self.say(|| format!("p{p} joins"));
        }
    }

    /// A core wants a value that other processes have.
    pub fn fetch(&mut self, to: P, from: Vec<P>, id: ObjectId, attempt: u32) {
        // It takes longer to find out that somebody is gone.
        let dead = from.iter().any(|p| !self.all[*p].alive);
        let delay = self.delay() + if dead { MILLISECOND } else { 0 };
        self.after(delay, Event::Serve { to, from, id, attempt });
    }

    /// The first of them that has it and does not fail gives it.
    pub fn serve(&mut self, to: P, from: &[P], id: ObjectId, attempt: u32) {
        let chance = self.scenario.faults.failed_fetches;
        let (mut found, mut failed) = (None, false);
        let first =
            if self.random.percent(50) { self.random.range(0, from.len() as u64 - 1) as usize } else { 0 };
        for (n, p) in from.iter().enumerate().cycle().skip(first).take(from.len()) {
            let alive = self.all[*p].alive;
            let value = if alive { self.object(*p, id, attempt) } else { None };
            let fails = *p != to && self.now < self.scenario.faults.until && self.random.percent(chance);
            failed |= !alive || (fails && value.is_some());
            if let Some(value) = value.filter(|_| !fails) {
                found = Some((*p, value));
                if n > 0 {
                    self.count("(fetched from a copy)");
                }
                break;
            }
        }
        let got = match found {
            Some((p, value)) => {
                // Within a host it is read in place, and here it is.
                let copied = to != p && self.is_tcp(to, p);
                if self.random.percent(10) {
                    let later = self.random.scale(MILLISECOND, 1_000 * MILLISECOND);
                    self.after(later, Event::DropCopies(to));
                }
                Got::Value { value, copied }
            }
            None => {
                self.weather.failed_fetches += u32::from(failed);
                Got::Nothing
            }
        };
        let delay = self.delay();
        self.after(delay, Event::Fetched { to, id, attempt, got });
    }

    /// A value that a process keeps, brought back if it was set aside.
    fn object(&mut self, p: P, id: ObjectId, attempt: u32) -> Option<Payload> {
        let spilled = match self.call(p, |core, _| core.object(id, attempt))? {
            Found::Here(value) => return Some(value),
            Found::Away(spilled) => spilled,
        };
        if self.now < self.scenario.faults.until && self.random.percent(self.scenario.damaged) {
            self.say(|| format!("p{p} cannot read {id} any more"));
            // There may be nothing to compute it from.
            self.weather.failed_fetches += 4;
            self.damaged.insert(id);
            self.call(p, |core, fx| core.is_damaged(id, &spilled, fx));
            return None;
        }
        let value = spilled.in_memory()?;
        self.count("brought back");
        self.call(p, |core, fx| core.came_back(id, &spilled, value.clone(), fx));
        Some(value)
    }

    /// The memory of a process may be full just now.
    pub fn set_aside_some(&mut self, p: P) {
        if !self.random.percent(self.scenario.spills) {
            return;
        }
        let in_use = self.random.percent(30);
        let mut park = |value| if in_use { Err(value) } else { Ok(Spilled::simulated(value)) };
        if let SetAside::One(id, _) = self.call(p, |core, fx| core.set_aside(&mut park, fx)) {
            self.count("set aside");
            self.aside.insert((p, id));
            self.say(|| format!("p{p} sets {id} aside"));
        }
    }
}
