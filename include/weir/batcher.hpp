// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/parking.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>

namespace weir::inline v0 {

/// What bounds a batch and those who wait for one.
template <class Request>
struct batcher_options {
  std::size_t max_batch = 256;         ///< requests in one batch, at least 1
  std::size_t max_waiting = 4096;      ///< requests accepted and not yet in a batch, at least 1
  duration linger = duration::zero();  ///< how long a batch of two or more may wait to fill
  std::optional<std::uint64_t> max_weight = std::nullopt;   ///< sum of weights in one batch; needs `weigh`
  std::function<std::uint64_t(const Request&)> weigh = {};  ///< called by `submit`, on the caller's thread
};

/// Counts since construction, but for the gauge `waiting`; all of one instant.
struct batcher_stats {
  std::uint64_t batches = 0;        ///< calls made
  std::uint64_t requests = 0;       ///< requests that were part of a call
  std::uint64_t largest_batch = 0;  ///< requests in the largest call
  std::uint64_t refused = 0;        ///< refused at the door: full, closed, too heavy
  std::uint64_t abandoned = 0;      ///< left before they were part of a call: timed out or cancelled
  std::size_t waiting = 0;          ///< accepted, not yet part of a call
};

namespace detail {

/// One request on its way; lives on the stack of the call of `submit`.
template <class Request, class Result>
struct batch_entry : waiter {
  enum class phase { queued, leading, taken, left };

  Request* request = nullptr;
  std::uint64_t weight = 0;
  deadline until;
  std::stop_token stop;
  phase at = phase::queued;           // guarded by the lock of the batcher; readable by whoever was unparked
  refusal why{refusal_reason::busy};  // why it left
  batch_entry* next_taken = nullptr;  // the batch as a chain, leader first; written by the leader
  std::optional<outcome<Result>> answer;  // written by the leader's thread while the request is taken
  std::exception_ptr error;               // the same

  [[nodiscard]] bool answered() const noexcept { return answer || error; }
};

}  // namespace detail

/// One request of a batch, and the place for its answer.
///
/// Each item is answered once: with a value, a refusal or an exception.  A second answer throws
/// std::logic_error and changes nothing; a value whose move throws leaves the item without an answer.
///
/// Lifetime       During the call that it was handed to.
/// Thread safety  Different items from different threads, as long as all is done when the call returns.
template <class Request, class Result>
class batch_item {
 public:
  [[nodiscard]] Request& request() const noexcept { return *entry_->request; }
  [[nodiscard]] bool answered() const noexcept { return entry_->answered(); }

  void set_value(std::conditional_t<std::is_void_v<Result>, std::monostate, Result> value)
    requires(!std::is_void_v<Result>)
  {
    check();
    entry_->answer.emplace(std::in_place, std::move(value));
  }

  void set_value()
    requires std::is_void_v<Result>
  {
    check();
    entry_->answer.emplace();
  }

  /// This one cannot be served now; the caller gets the refusal as it is.
  void set_refusal(refusal why) {
    check();
    entry_->answer.emplace(why);
  }

  /// Throws std::invalid_argument if `error` is empty.
  void set_exception(std::exception_ptr error) {
    check();
    if (!error) throw std::invalid_argument{"batch_item: exception must not be empty"};
    entry_->error = std::move(error);
  }

 private:
  template <class, class, monotonic_clock>
  friend class batcher;
  explicit batch_item(detail::batch_entry<Request, Result>& entry) noexcept : entry_{&entry} {}

  void check() const {
    if (answered()) throw std::logic_error{"batch_item: answered twice"};
  }

  detail::batch_entry<Request, Result>* entry_;
};

/// Many callers, one call: whoever comes while a call is in progress waits and is served together with all
/// the others who did.  Group commit by leader and follower, without a thread of its own.
///
/// Model       A queue and at most one leader.  Who finds no leader leads: takes the front of the queue, its
///             own request first, up to max_batch and max_weight, and makes the call on its own thread.  Then
///             leadership goes to the first in the queue, and the old leader goes home with its own answer.
/// Linger      A lone caller is served at once, always.  Only where two or more are in the queue does a leader
///             wait for the batch to fill: until `linger` has passed, until the batch is full, until close(),
///             until it is alone, and never so long that somebody's deadline passes.
/// Invariants  I1  Requests enter batches in the order of their acceptance; one batch runs at a time.
///             I2  A request is part of exactly one call, or of none and its caller was told so
///                 (timed_out, cancelled): once it is part of a call, its caller waits for the answer.
///             I3  If the queue is not empty, somebody leads it.
/// Answers     Every caller gets its own.  If the call throws, every item without an answer gets the
///             exception; if it returns, an item without an answer gets std::logic_error.
/// Ordering    What a caller did before `submit` happens before the call that serves it; the call happens
///             before the return of each `submit` it served.
/// Thread safety  Every member from any thread but the destructor, which requires that every `submit` has
///             returned.  The call must not submit to its own batcher: detected on its own thread
///             (std::logic_error), a deadlock if it waits for another thread that does.
/// Memory      A pointer for each of max_batch or max_waiting, whichever is less, allocated at construction;
///             `submit` allocates nothing.
/// When not    Requests that are cheap one by one, or that need the answer of one another.
/// Source      Leader/followers: Schmidt et al., PLoPD 4, 2000; group commit: DeWitt et al., SIGMOD 1984.
template <class Request, class Result, monotonic_clock Clock = steady_clock>
class batcher {
  using entry = detail::batch_entry<Request, Result>;
  using phase = typename entry::phase;

 public:
  using item = batch_item<Request, Result>;

  /// `call` is called with each batch, one at a time, on the thread of one of the callers.
  /// Throws std::invalid_argument if an option is out of range; what the allocation throws.
  template <class Call>
    requires std::is_invocable_v<Call&, std::span<item>>
  batcher(batcher_options<Request> options, Call call, Clock clock = {})
      : options_{checked(std::move(options))},
        call_{std::make_unique<erased<Call>>(std::move(call))},
        clock_{std::move(clock)} {
    batch_.reserve(std::min(options_.max_batch, options_.max_waiting));  // all who wait can be taken, no more
  }

  batcher(const batcher&) = delete;
  batcher& operator=(const batcher&) = delete;
  ~batcher() = default;

  /// Hands in `request` and waits for its answer, making the call for others too if it is this one's turn.
  ///
  /// \param until   Bounds the wait for a place in a batch, not the call: once taken, it waits.
  /// \param stop    The same.
  /// \return        The answer, or a refusal with the certainty that the request was part of no call:
  ///                `full`, `closed`, `exceeds_capacity`, `timed_out`, `cancelled` (or what the call refused
  ///                it with).
  /// Exceptions     What the call gave this request; std::logic_error from inside the call; what `weigh` and
  ///                the move of Result throw.
  /// Complexity     O(1) and the share of the batch, no allocation.
  outcome<Result> submit(Request request, deadline until = {}, std::stop_token stop = {}) {
    entry self;
    self.request = std::addressof(request);
    self.weight = options_.weigh ? options_.weigh(std::as_const(request)) : 0;
    self.until = until;
    self.stop = std::move(stop);

    std::unique_lock lock{mutex_};
    if (runner_ == std::this_thread::get_id()) {
      throw std::logic_error{"batcher: submit must not be called by the call that serves the batch"};
    }
    if (const auto refused = refusal_at_the_door_locked(self)) {
      ++stats_.refused;
      return *refused;
    }
    if (const auto gone = given_up(self, until.is_never() ? time_point{} : clock_.now())) {
      ++stats_.abandoned;
      return *gone;
    }
    queue_.push_back(self);
    ++waiting_;
    waiting_weight_ += self.weight;
    if (leader_ == nullptr) {
      leader_ = &self;
      self.at = phase::leading;
      return lead(lock, self);
    }
    if (lingering_ && (full_locked() || until.time() <= linger_until_)) leader_->park.unpark();
    lock.unlock();
    return follow(self);
  }

  /// `submit` that waits for a place in a batch no longer than `wait`.
  outcome<Result> submit_for(Request request, duration wait, std::stop_token stop = {}) {
    return submit(std::move(request), deadline::after(clock_.now(), wait), std::move(stop));
  }

  /// Refuses every later request; those accepted are served, without further linger.  Never waits.
  void close() noexcept {
    const std::lock_guard lock{mutex_};
    closed_ = true;
    if (lingering_) leader_->park.unpark();
  }

  [[nodiscard]] bool is_closed() const noexcept {
    const std::lock_guard lock{mutex_};
    return closed_;
  }

  [[nodiscard]] batcher_stats stats() const noexcept {
    const std::lock_guard lock{mutex_};
    batcher_stats now = stats_;
    now.waiting = waiting_;
    return now;
  }

 private:
  struct callable {
    virtual ~callable() = default;
    virtual void operator()(std::span<item> batch) = 0;
  };
  template <class Call>
  struct erased final : callable {
    explicit erased(Call c) : call{std::move(c)} {}
    void operator()(std::span<item> batch) override { std::invoke(call, batch); }
    Call call;
  };

  static batcher_options<Request> checked(batcher_options<Request> o) {
    const auto require = [](bool ok, const char* what, auto got) {
      if (!ok) throw std::invalid_argument{"batcher: " + std::string{what} + ", got " + std::to_string(got)};
    };
    require(o.max_batch > 0, "max_batch must be positive", o.max_batch);
    require(o.max_waiting > 0, "max_waiting must be positive", o.max_waiting);
    require(o.linger >= duration::zero(), "linger must not be negative", o.linger.count());
    if (o.max_weight.has_value() != static_cast<bool>(o.weigh)) {
      throw std::invalid_argument{"batcher: max_weight and weigh must be given together, got one of them"};
    }
    if (o.max_weight) {
      require(*o.max_weight > 0, "max_weight must be positive", *o.max_weight);
      require(*o.max_weight <= std::numeric_limits<std::uint64_t>::max() / o.max_waiting,
              "max_weight must not overflow when multiplied by max_waiting", *o.max_weight);
    }
    return o;
  }

  [[nodiscard]] std::optional<refusal> refusal_at_the_door_locked(const entry& e) const noexcept {
    if (closed_) return refused_for_ever(refusal_reason::closed);
    if (options_.max_weight && e.weight > *options_.max_weight) {
      return refused_for_ever(refusal_reason::exceeds_capacity);
    }
    if (waiting_ >= options_.max_waiting) return refusal{refusal_reason::full};
    return std::nullopt;
  }

  /// Whether its caller has stopped waiting for it, by its own token and deadline.
  [[nodiscard]] static std::optional<refusal> given_up(const entry& e, time_point now) noexcept {
    if (e.stop.stop_requested()) return refusal{refusal_reason::cancelled};
    if (e.until.reached(now)) return refusal{refusal_reason::timed_out};
    return std::nullopt;
  }

  [[nodiscard]] bool full_locked() const noexcept {
    return waiting_ >= options_.max_batch || (options_.max_weight && waiting_weight_ >= *options_.max_weight);
  }

  /// Whether the leader is not alone.
  [[nodiscard]] bool in_company_locked() const noexcept { return waiting_ > 1; }

  void unlink_locked(entry& e) noexcept {
    queue_.remove(e);
    --waiting_;
    waiting_weight_ -= e.weight;
  }

  refusal leave_locked(entry& e, refusal why) noexcept {
    unlink_locked(e);
    ++stats_.abandoned;
    e.at = phase::left;
    e.why = why;
    return why;
  }

  /// I3: whoever stops being the leader passes through here.
  void hand_over_locked() noexcept {
    leader_ = static_cast<entry*>(queue_.front());
    if (leader_ == nullptr) return;
    leader_->at = phase::leading;
    leader_->park.unpark();
  }

  /// The stop of a waiter: it leaves the queue at once, by the thread that requested the stop.
  void withdraw(entry& e) noexcept {
    const std::lock_guard lock{mutex_};
    if (e.at == phase::queued) {
      leave_locked(e, refusal{refusal_reason::cancelled});
      e.park.unpark();
      if (lingering_ && !in_company_locked()) leader_->park.unpark();
    } else if (lingering_ && leader_ == &e) {
      e.park.unpark();
    }
  }

  /// Waits until the request was answered, has left, or leads.
  ///
  /// Nobody unparks a follower without having decided its phase, so a token says that `at` is final and may
  /// be read without the lock; a request that is taken gets its token when it is answered, as the last touch.
  outcome<Result> follow(entry& self) {
    std::exception_ptr broken;
    bool unparked = false;
    try {
      const std::stop_callback on_stop{self.stop, [this, &self]() noexcept { withdraw(self); }};
      unparked = self.park.park_until(clock_, self.until);
    } catch (...) {
      broken = std::current_exception();  // the clock could not serve; the queue must not keep this entry
    }
    if (!unparked) {
      std::unique_lock lock{mutex_};
      switch (self.at) {
        case phase::queued:
          leave_locked(self, refusal{refusal_reason::timed_out});
          if (broken) std::rethrow_exception(broken);
          break;
        case phase::leading:
          if (!broken) return lead(lock, self);
          leave_locked(self, refusal{refusal_reason::cancelled});
          hand_over_locked();
          std::rethrow_exception(broken);
        case phase::taken:
          lock.unlock();
          (void)self.park.park_until(clock_, deadline::never());
          break;
        case phase::left:
          break;
      }
    }
    if (self.at == phase::left) return self.why;
    if (self.at == phase::taken) return answer_of(self);
    std::unique_lock lock{mutex_};
    return lead(lock, self);
  }

  /// The lock is held, `self` leads and stands at the front of the queue.
  outcome<Result> lead(std::unique_lock<std::mutex>& lock, entry& self) {
    linger(lock, self);
    const time_point now = clock_.now();
    if (const auto gone = given_up(self, now)) {
      leave_locked(self, *gone);
      hand_over_locked();
      return *gone;
    }
    take_locked(now);
    runner_ = std::this_thread::get_id();
    lock.unlock();

    run_batch(self);

    lock.lock();
    runner_ = {};
    batch_.clear();
    hand_over_locked();
    lock.unlock();

    // The next batch is on its way.  An entry may be gone as soon as it is unparked.
    for (entry* e = self.next_taken; e != nullptr;) {
      entry* const next = e->next_taken;
      e->park.unpark();
      e = next;
    }
    return answer_of(self);
  }

  void linger(std::unique_lock<std::mutex>& lock, entry& self) noexcept {
    if (options_.linger == duration::zero()) return;
    linger_until_ = saturating_add(clock_.now(), options_.linger);
    while (in_company_locked() && !full_locked() && !closed_ && !somebody_hurries_locked() &&
           clock_.now() < linger_until_ && !self.stop.stop_requested()) {
      lingering_ = true;
      lock.unlock();
      try {
        const std::stop_callback on_stop{self.stop, [this, &self]() noexcept { withdraw(self); }};
        (void)self.park.park_until(clock_, linger_until_);
      } catch (...) {  // a clock that cannot wake is no reason to fail: run now
        lock.lock();
        lingering_ = false;
        return;
      }
      lock.lock();
      lingering_ = false;
    }
  }

  /// A batch that is not full has at most max_batch in the queue, so this is bounded by it.
  [[nodiscard]] bool somebody_hurries_locked() const noexcept {
    for (const detail::waiter* w = queue_.front(); w != nullptr; w = w->next) {
      if (static_cast<const entry*>(w)->until.time() <= linger_until_) return true;
    }
    return false;
  }

  /// Takes the front of the queue into `batch_`; those who have given up are told so and take no place.
  void take_locked(time_point now) noexcept {
    std::uint64_t weight = 0;
    entry* last = nullptr;
    while (queue_.front() != nullptr && batch_.size() < options_.max_batch) {
      entry& e = static_cast<entry&>(*queue_.front());
      if (last != nullptr) {
        if (const auto gone = given_up(e, now)) {
          leave_locked(e, *gone);
          e.park.unpark();
          continue;
        }
        if (options_.max_weight && e.weight > *options_.max_weight - weight) break;
        last->next_taken = &e;
      }
      unlink_locked(e);
      e.at = phase::taken;
      weight += e.weight;
      batch_.push_back(item{e});
      last = &e;
    }
    ++stats_.batches;
    stats_.requests += batch_.size();
    stats_.largest_batch = std::max<std::uint64_t>(stats_.largest_batch, batch_.size());
  }

  /// Without the lock: `batch_` belongs to the leader while a batch runs.
  /// The chain is what counts: the call may have reordered or overwritten the items of its span.
  void run_batch(entry& first) noexcept {
    std::exception_ptr error;
    try {
      (*call_)(std::span<item>{batch_});
    } catch (...) {
      error = std::current_exception();
    }
    for (entry* e = &first; e != nullptr; e = e->next_taken) {
      if (e->answered()) continue;
      if (!error) error = left_unanswered();
      e->error = error;
    }
  }

  static std::exception_ptr left_unanswered() noexcept {
    try {
      throw std::logic_error{"batcher: the call returned without an answer for this request"};
    } catch (...) {
      return std::current_exception();  // or whatever kept the message from being built
    }
  }

  static outcome<Result> answer_of(entry& e) {
    if (e.error) std::rethrow_exception(e.error);
    return *std::move(e.answer);
  }

  const batcher_options<Request> options_;
  const std::unique_ptr<callable> call_;
  [[no_unique_address]] Clock clock_;

  mutable std::mutex mutex_;
  detail::wait_list queue_;  // guarded by mutex_; entries accepted and not taken, a leader at the front
  std::size_t waiting_ = 0;  // guarded by mutex_; entries in queue_
  std::uint64_t waiting_weight_ = 0;  // guarded by mutex_; their weight
  entry* leader_ = nullptr;           // guarded by mutex_; forms or runs a batch
  bool lingering_ = false;            // guarded by mutex_; the leader sleeps until its batch is full
  bool closed_ = false;               // guarded by mutex_
  time_point linger_until_{};         // guarded by mutex_
  std::thread::id runner_;            // guarded by mutex_; who is inside the call
  batcher_stats stats_;               // guarded by mutex_
  std::vector<item> batch_;           // owned by the leader
};

}  // namespace weir::inline v0
