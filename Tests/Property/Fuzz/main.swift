// One program for all fuzz targets, built and run by scripts/fuzz. What follows the name is for libFuzzer.
//
//     fuzz --list
//     fuzz --seed-corpus TARGET FOLDER
//     fuzz TARGET [libFuzzer's arguments]

import Kernel

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// libFuzzer as a library: this program has a main of its own.
@_silgen_name("LLVMFuzzerRunDriver")
func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ run: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

func stop(_ reason: String) -> Never {
    let line = Array((reason + "\n").utf8)
    write(2, line, line.count)
    exit(2)
}

/// Set once, before anything runs.
enum Running {
    nonisolated(unsafe) static var target: Target?
}

/// By the name that the library's own main asks for, though it is never run.
@_cdecl("LLVMFuzzerTestOneInput")
func runOnce(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    Running.target?.run(Bytes(UnsafeBufferPointer(start: data, count: size)))
    return 0
}

let words = Array(CommandLine.arguments.dropFirst())
let isSeeding = words.first == "--seed-corpus" && words.count == 3
guard let word = isSeeding ? words[1] : words.first else { stop("which target? --list names them") }
if word == "--list" {
    for target in Target.all { print(target.name) }
    exit(0)
}
guard let chosen = Target.all.first(where: { $0.name == word }) else { stop("no target \(word): --list names them") }

if isSeeding {
    var number = 0
    for seed in chosen.seeds() {
        number += 1
        guard let file = fopen("\(words[2])/seed-\(number)", "wb") else { stop("cannot write into \(words[2])") }
        fwrite(seed, 1, seed.count, file)
        fclose(file)
    }
    exit(0)
}

/// In the name's place stands how long an input may be, which an argument can still change. libFuzzer runs itself anew in some modes,
/// which wants a name again.
var count = CommandLine.argc
var arguments = CommandLine.unsafeArgv
arguments[1] = strdup("-max_len=\(chosen.bytesMax)")
Running.target = chosen
exit(runFuzzer(&count, &arguments, runOnce))
