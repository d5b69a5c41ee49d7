#include "worker/socket_wait_pg.h"

#include "boundary.h"

extern "C" {
#include "miscadmin.h"  // MyLatch
#include "utils/wait_event.h"
}

namespace cache_sync {
namespace {

std::uint32_t wait_event() {
    static std::uint32_t event = 0;
    if (event == 0)
        event = WaitEventExtensionNew("CacheSyncPublisherMain");
    return event;
}

constexpr int kMaxEvents = 32;
constexpr int kLatchPosition = 0;

}  // namespace

// The kernel forgets a closed socket by itself, and a new one may have its number: so the set is built anew
// whenever the sockets changed.
void SocketWait::rebuild(const std::vector<WaitedSocket> &sockets) {
    call([&] {
        if (set_ != nullptr)
            FreeWaitEventSet(set_);
        set_ = nullptr;
        set_ = CreateWaitEventSet(nullptr, static_cast<int>(sockets.size()) + 2);
        AddWaitEventToSet(set_, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
        AddWaitEventToSet(set_, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
        for (const WaitedSocket &one : sockets)
            AddWaitEventToSet(set_, WL_SOCKET_READABLE | (one.writable ? WL_SOCKET_WRITEABLE : 0), one.fd,
                              nullptr, nullptr);
    });
    waited_ = sockets;
}

std::vector<ReadySocket> SocketWait::wait(const std::vector<WaitedSocket> &sockets, long timeout_ms,
                                          bool deaf) {
    if (set_ == nullptr || sockets != waited_)
        rebuild(sockets);
    WaitEvent events[kMaxEvents];
    const int count = call([&] {
        ModifyWaitEvent(set_, kLatchPosition, WL_LATCH_SET, deaf ? nullptr : MyLatch);
        return WaitEventSetWait(set_, timeout_ms, events, kMaxEvents, wait_event());
    });
    std::vector<ReadySocket> ready;
    for (int n = 0; n < count; ++n) {
        const WaitEvent &event = events[n];
        if ((event.events & WL_LATCH_SET) != 0)
            ResetLatch(MyLatch);
        if (event.fd != PGINVALID_SOCKET && (event.events & WL_SOCKET_MASK) != 0)
            ready.push_back({event.fd, (event.events & WL_SOCKET_READABLE) != 0,
                             (event.events & WL_SOCKET_WRITEABLE) != 0});
    }
    return ready;
}

}  // namespace cache_sync
