//! Who is connected, since when each has been idle, and who has to go when others want in.
//!
//! A request writes two numbers of its connection's seat; nothing is kept in order. Only
//! when the house is full are the seats looked through, and then for many at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// Who has said nothing for so long is no newcomer any more.
const SILENT: Duration = Duration::from_secs(1);
/// A head that has been arriving for so long gives way before anybody who was answered.
const SLOW_HEAD: Duration = Duration::from_secs(5);
/// One that has been for so long, before those who were answered a moment ago and will go on:
/// heads come whole, but for those that are meant to take long.
const NO_WHOLE_HEAD: Duration = Duration::from_millis(500);
/// Who has been idle for so long may not go on soon.
const IDLE: Duration = Duration::from_secs(1);
/// Who has been idle for so long is asked to keep nothing but the connection.
const PARK: Duration = Duration::from_secs(1);
/// Who was asked to go and is idle goes within this.
const GOING: Duration = Duration::from_secs(1);
/// Who was given up hears why within this.
const GIVEN_UP: Duration = Duration::from_millis(200);
/// The class of those who give way only when nobody else is about to go.
const LAST: u8 = 5;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// Go on.
    Stay,
    /// End when nothing is being asked or answered.
    Leave,
    /// End although a head is arriving.
    GiveUp,
    /// End at once, whatever is running.
    End,
}

impl Order {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Stay,
            1 => Self::Leave,
            2 => Self::GiveUp,
            _ => Self::End,
        }
    }
}

/// What a connection without requests is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// It has not sent anything yet, or was answered for the last time.
    Silent,
    /// The next head is arriving.
    Head,
    /// It was answered, or may have streams; it has none.
    Idle,
}

impl Phase {
    fn of(number: u64) -> Self {
        match number {
            0 => Self::Silent,
            1 => Self::Head,
            _ => Self::Idle,
        }
    }
}

/// One connection, as the listener sees it.
#[derive(Debug)]
pub(super) struct Seat {
    /// Its place among all seats; changed only under their lock.
    place: AtomicUsize,
    opened: Instant,
    running: AtomicU32,
    /// Milliseconds from `opened` to the phase's begin, and the phase in the lowest two bits.
    phase: AtomicU64,
    order: AtomicU8,
    /// Whether a write waits for the client.
    blocked: AtomicBool,
    parking: AtomicU8,
    /// Whether much of a request's body was left unread.
    unread: AtomicBool,
    waker: AtomicWaker,
}

/// Whether a connection is to keep nothing but itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Parking {
    /// It cannot, or does already.
    No,
    /// It could.
    Possible,
    /// It was asked to.
    Asked,
}

impl Seat {
    fn new(place: usize) -> Self {
        Self {
            place: AtomicUsize::new(place),
            opened: Instant::now(),
            running: AtomicU32::new(0),
            phase: AtomicU64::new(Phase::Silent as u64),
            order: AtomicU8::new(Order::Stay as u8),
            blocked: AtomicBool::new(false),
            parking: AtomicU8::new(Parking::No as u8),
            unread: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Whom to wake for the next order.
    pub(super) fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn ordered(&self) -> Order {
        Order::of(self.order.load(Ordering::Acquire))
    }

    pub(super) fn order(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.waker.wake();
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed) & 0b11)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }

    pub(super) fn enter(&self, phase: Phase) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        self.phase
            .store((since << 2) | phase as u64, Ordering::Relaxed);
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// A body was left that is not read to its end.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether that has happened since this was last asked.
    pub(super) fn take_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed) && self.unread.swap(false, Ordering::Relaxed)
    }

    pub(super) fn set_parking(&self, parking: Parking) {
        self.parking.store(parking as u8, Ordering::Relaxed);
    }

    /// Whether it was asked to keep nothing but the connection, and has nothing else to do.
    pub(super) fn is_to_park(&self) -> bool {
        self.parking.load(Ordering::Relaxed) == Parking::Asked as u8
            && self.phase() == Phase::Idle
            && !self.is_running()
            && !self.blocked.load(Ordering::Relaxed)
    }

    /// Bytes came that may be a head's.
    pub(super) fn reads(&self) {
        if self.phase() != Phase::Head && !self.is_running() {
            self.enter(Phase::Head);
        }
    }

    /// A request begins; it runs until what is returned is dropped.
    pub(super) fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(self))
    }

    /// Whether it was asked to go, and can.
    fn is_going(&self) -> bool {
        !self.is_running() && matches!(self.ordered(), Order::Leave | Order::GiveUp)
    }

    /// How long it has been in its phase.
    pub(super) fn in_phase_for(&self) -> Duration {
        let since = Duration::from_millis(self.phase.load(Ordering::Relaxed) >> 2);
        self.opened.elapsed().saturating_sub(since)
    }

    /// Where it stands among those who give way, the first first; `None`: it does not.
    fn gives_way(&self) -> Option<(u8, Instant, Order)> {
        if self.is_running() {
            return None;
        }
        let lasted = self.in_phase_for();
        let (class, order) = match (self.ordered(), self.phase()) {
            (Order::End, _) => return None,
            (Order::Leave, _) if lasted > GOING => (0, Order::End),
            (Order::GiveUp, _) if lasted > GIVEN_UP => (0, Order::End),
            (Order::Leave | Order::GiveUp, _) => return None,
            (Order::Stay, Phase::Silent) if lasted > SILENT => (1, Order::Leave),
            (Order::Stay, Phase::Head) if lasted > SLOW_HEAD => (2, Order::GiveUp),
            (Order::Stay, Phase::Idle) if lasted > IDLE => (3, Order::Leave),
            (Order::Stay, Phase::Head) if lasted > NO_WHOLE_HEAD => (4, Order::GiveUp),
            (Order::Stay, Phase::Silent | Phase::Idle) => (LAST, Order::Leave),
            (Order::Stay, Phase::Head) => return None,
        };
        Some((class, Instant::now() - lasted, order))
    }
}

/// A request of a connection.
#[derive(Debug)]
pub(super) struct Running(Arc<Seat>);

impl Running {
    /// Its body is left, and much of it has not been read.
    pub(super) fn leaves_unread(&self) {
        self.0.leave_unread();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Before the count, so that nobody sees it idle since long ago.
        self.0.enter(Phase::Idle);
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        if self.0.ordered() > Order::Stay {
            // It waits for this to go.
            self.0.waker.wake();
        }
    }
}

/// All seats of a listener.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Mutex<Vec<Arc<Seat>>>,
    capacity: usize,
    /// Somebody has left.
    left: Notify,
}

impl Seats {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            taken: Mutex::default(),
            capacity,
            left: Notify::new(),
        }
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Seat>>> {
        // Nothing under the lock can panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for somebody new. When all are taken, those that have been idle for longest
    /// are asked to go; while nobody is idle, it waits.
    pub(super) async fn take(self: &Arc<Self>) -> Taken {
        loop {
            let left = self.left.notified();
            {
                let mut taken = self.taken();
                if taken.len() < self.capacity {
                    let seat = Arc::new(Seat::new(taken.len()));
                    taken.push(Arc::clone(&seat));
                    let seats = Arc::clone(self);
                    return Taken { seat, seats };
                }
            }
            self.make_room();
            // Who is not idle now may be so soon, without telling anybody.
            let _ = tokio::time::timeout(Duration::from_millis(50), left).await;
        }
    }

    /// Asks those who have been idle for longest to go, a few at once: whoever wants in
    /// next finds room.
    pub(super) fn make_room(&self) {
        let taken = self.taken();
        let candidates = taken.iter().enumerate();
        let mut candidates: Vec<_> = candidates
            .filter_map(|(at, seat)| Some((seat.gives_way()?, at)))
            .collect();
        if taken.iter().any(|seat| seat.is_going()) {
            candidates.retain(|((class, ..), _)| *class < LAST);
        }
        let few = (self.capacity / 64).max(1);
        if candidates.len() > few {
            candidates.select_nth_unstable(few);
            candidates.truncate(few);
        }
        for ((_, _, order), at) in candidates {
            taken[at].enter(taken[at].phase());
            taken[at].order(order);
        }
    }

    /// Asks those to go that have been idle for longer than `limit`, and those that have been
    /// for a while to keep nothing but the connection.
    pub(super) fn look(&self, limit: Duration) {
        for seat in self.taken().iter() {
            if seat.is_running() || seat.phase() != Phase::Idle {
                continue;
            }
            let lasted = seat.in_phase_for();
            if lasted > limit {
                seat.order(Order::Leave);
            } else if lasted > PARK
                && seat.parking.load(Ordering::Relaxed) == Parking::Possible as u8
            {
                seat.set_parking(Parking::Asked);
                seat.waker.wake();
            }
        }
    }

    /// Tells everybody.
    pub(super) fn order_all(&self, order: Order) {
        for seat in self.taken().iter() {
            seat.order(order);
        }
    }
}

/// A seat; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) seat: Arc<Seat>,
    seats: Arc<Seats>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        let place = self.seat.place.load(Ordering::Relaxed);
        taken.swap_remove(place);
        if let Some(moved) = taken.get(place) {
            moved.place.store(place, Ordering::Relaxed);
        }
        drop(taken);
        self.seats.left.notify_one();
    }
}
