// What one thread leaves for another, which waits for it.

import Glibc
import Kernel

final class Mailbox<Item>: @unchecked Sendable {
    private let lock = Lock()
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    private var items: [Item] = []

    init() { sem_init(semaphore, 0, 0) }
    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func put(_ item: Item) {
        lock.held { items.append(item) }
        sem_post(semaphore)
    }
    /// Blocks until there is one.
    func next() -> Item {
        while sem_wait(semaphore) != 0 {}
        return lock.held { items.removeFirst() }
    }
}
