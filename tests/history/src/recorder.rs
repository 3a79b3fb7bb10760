//! Notes calls while they are made, and checks them as the run goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::call::{Answer, Call, Object, Op};
use crate::stretch::Course;
use crate::verdict::{Failure, Verdict};

/// Clones note into one history.
#[derive(Clone, Debug)]
pub struct Recorder {
    started: Instant,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    on_their_way: BTreeMap<u64, (u32, Op, u64)>,
    begun: u64,
    courses: BTreeMap<Object, Course>,
    /// Of objects that were retired.
    retired: Verdict,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    pub fn new() -> Self {
        Self { started: Instant::now(), notes: Arc::default() }
    }

    /// Notes that a call begins. To be called before anything is sent.
    pub fn begin(&self, client: u32, op: Op) -> Begun {
        let mut notes = self.notes();
        let begun_micros = self.now();
        notes.begun += 1;
        let number = notes.begun;
        notes.on_their_way.insert(number, (client, op, begun_micros));
        Begun { recorder: self.clone(), number }
    }

    /// Adds a call that was noted elsewhere, by the same clock.
    pub fn add(&self, call: &Call) {
        self.notes().add(call);
    }

    /// Checks all that is settled: of each object the calls that ended before the eldest one on its way began. They are
    /// forgotten; what the object may be after them is kept. To be called now and then in a run that is long.
    ///
    /// # Errors
    ///
    /// As [`crate::check`].
    pub fn check_settled(&self) -> Result<Verdict, Failure> {
        let now = self.now();
        let mut notes = self.notes();
        let objects: Vec<Object> = notes.courses.keys().copied().collect();
        for object in objects {
            let until = notes.settled(object).unwrap_or(now);
            if let Some(course) = notes.courses.get_mut(&object) {
                course.check(until)?;
            }
        }
        Ok(notes.verdict())
    }

    /// Checks the rest of an object's calls and forgets the object. No call about it may follow.
    ///
    /// # Errors
    ///
    /// As [`crate::check`].
    pub fn retire(&self, object: Object) -> Result<(), Failure> {
        let mut notes = self.notes();
        let Some(mut course) = notes.courses.remove(&object) else { return Ok(()) };
        course.check(u64::MAX)?;
        notes.retired = notes.retired.and(course.verdict());
        Ok(())
    }

    /// Checks everything. Calls that are still on their way count as of unknown outcome.
    ///
    /// # Errors
    ///
    /// As [`crate::check`].
    pub fn finish(&self) -> Result<Verdict, Failure> {
        let mut notes = self.notes();
        for (client, op, begun_micros) in std::mem::take(&mut notes.on_their_way).into_values() {
            notes.add(&Call { client, op, begun_micros, ended_micros: None, answer: Answer::Unknown });
        }
        for course in notes.courses.values_mut() {
            course.check(u64::MAX)?;
        }
        Ok(notes.verdict())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A caller that panics while it notes has broken nothing: each note is made whole.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn add(&mut self, call: &Call) {
        for object in call.op.objects(&call.answer) {
            self.courses.entry(object).or_insert_with(|| Course::of(object)).add(call.clone());
        }
    }

    /// When the eldest call on its way that may be about this object began.
    fn settled(&self, object: Object) -> Option<u64> {
        // An invitation says only when it is answered which user it has made.
        let new_user = matches!(object, Object::User(_)) && self.courses.get(&object).is_none_or(Course::is_new);
        let about =
            |op: &Op| op.objects(&Answer::Unknown).contains(&object) || (new_user && matches!(op, Op::Invite { .. }));
        self.on_their_way.values().filter(|(_, op, _)| about(op)).map(|(_, _, begun)| *begun).min()
    }

    fn verdict(&self) -> Verdict {
        self.courses.values().fold(self.retired, |verdict, course| verdict.and(course.verdict()))
    }
}

/// A call on its way. Dropped without an answer it is of unknown outcome.
#[must_use = "a call that is not ended is of unknown outcome"]
#[derive(Debug)]
pub struct Begun {
    recorder: Recorder,
    number: u64,
}

impl Begun {
    /// Notes the answer. To be called when all of it was read.
    pub fn end(self, answer: Answer) {
        let ended = self.recorder.now();
        self.note(answer, ended);
    }

    /// Notes that the caller will never know.
    pub fn unknown(self) {}

    fn note(&self, answer: Answer, ended: u64) {
        let mut notes = self.recorder.notes();
        if let Some((client, op, begun_micros)) = notes.on_their_way.remove(&self.number) {
            let ended_micros = (answer != Answer::Unknown).then_some(ended);
            notes.add(&Call { client, op, begun_micros, ended_micros, answer });
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.note(Answer::Unknown, 0);
    }
}
