// Keccak with its first padding, which SHA-3 changed and OpenSSL 3.0 lacks. keccak.team: Keccak-f[1600].

import Kernel

private let roundConstants: [UInt64] = [
    0x0000_0000_0000_0001, 0x0000_0000_0000_8082, 0x8000_0000_0000_808a, 0x8000_0000_8000_8000, 0x0000_0000_0000_808b,
    0x0000_0000_8000_0001, 0x8000_0000_8000_8081, 0x8000_0000_0000_8009, 0x0000_0000_0000_008a, 0x0000_0000_0000_0088,
    0x0000_0000_8000_8009, 0x0000_0000_8000_000a, 0x0000_0000_8000_808b, 0x8000_0000_0000_008b, 0x8000_0000_0000_8089,
    0x8000_0000_0000_8003, 0x8000_0000_0000_8002, 0x8000_0000_0000_0080, 0x0000_0000_0000_800a, 0x8000_0000_8000_000a,
    0x8000_0000_8000_8081, 0x8000_0000_0000_8080, 0x0000_0000_8000_0001, 0x8000_0000_8000_8008,
]

private func rotated(_ word: UInt64, _ by: Int) -> UInt64 { by == 0 ? word : word << by | word >> (64 - by) }

private func permute(_ a: inout [UInt64]) {
    var column = [UInt64](repeating: 0, count: 5)
    for constant in roundConstants {
        for x in 0..<5 { column[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] }
        for x in 0..<5 {
            let mix = column[(x + 4) % 5] ^ rotated(column[(x + 1) % 5], 1)
            for y in stride(from: x, to: 25, by: 5) { a[y] ^= mix }
        }
        // Each lane moves on to the place of the next, turned by a triangular number.
        var (x, y, lane) = (1, 0, a[1])
        for step in 1...24 {
            (x, y) = (y, (2 * x + 3 * y) % 5)
            (lane, a[x + 5 * y]) = (a[x + 5 * y], rotated(lane, step * (step + 1) / 2 % 64))
        }
        for row in stride(from: 0, to: 25, by: 5) {
            for x in 0..<5 { column[x] = a[row + x] }
            for x in 0..<5 { a[row + x] = column[x] ^ (~column[(x + 1) % 5] & column[(x + 2) % 5]) }
        }
        a[0] ^= constant
    }
}

/// 28, 32, 48 or 64 bytes.
package func keccak(_ data: some Collection<UInt8>, count: Int) -> Bytes {
    let rate = 200 - 2 * count
    var padded = Bytes(data)
    let padding = rate - padded.count % rate
    padded.append(contentsOf: repeatElement(0, count: padding))
    padded[padded.count - padding] ^= 0x01
    padded[padded.count - 1] ^= 0x80
    var state = [UInt64](repeating: 0, count: 25)
    for block in stride(from: 0, to: padded.count, by: rate) {
        for i in 0..<rate { state[i / 8] ^= UInt64(padded[block + i]) << UInt64(8 * (i % 8)) }
        permute(&state)
    }
    return Bytes((0..<count).map { UInt8(truncatingIfNeeded: state[$0 / 8] >> UInt64(8 * ($0 % 8))) })
}
