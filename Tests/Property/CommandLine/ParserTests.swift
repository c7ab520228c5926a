// Words in, a command or a text out: upstream's rules for flags, groups and help. CLI-001..010.

import CommandLine
import Encoding
import Kernel
import TestSupport
import Testing

private let add = Command(
    "add", usage: "Add files", description: "Adds.\n\nMore.", argsUsage: "<path>",
    flags: [
        Flag("recursive", "r", kind: .bool(false), usage: "all of a folder"),
        Flag("name", "n", kind: .string(""), usage: "sets a `NAME`"),
        Flag("replication", kind: .int(0), usage: "how many"),
        Flag("wait", kind: .duration(.seconds(90)), usage: "how long", environment: ["WAIT", "WAIT_TOO"]),
        Flag("metadata", kind: .strings, usage: "`key=value`, again and again"),
        Flag("ratio", kind: .float(0.5), usage: "a part"),
        Flag("secret", kind: .string("x"), usage: "not shown", isHidden: true),
    ])
private let pin = Command(
    "pin", aliases: ["p"], usage: "Pins", flags: [Flag("all", kind: .bool(false), usage: "every one")],
    subcommands: [Command("ls", usage: "List"), Command("rm", aliases: ["del"], usage: "Remove")])
private let ctl = Program(
    "prog", usage: "does things", version: "1.2.3", flags: [Flag("config", "c", kind: .string("/d"), usage: "the `FOLDER`", environment: ["PROG_PATH"])],
    commands: [add, pin], usageErrorExit: 1)
private var service: Program {
    var out = ctl
    out.usageErrorExit = 0
    out.noCommandExit = 1
    return out
}

private func run(_ words: String..., environment: [String: String] = [:], program: Program = ctl) throws -> Invocation {
    switch program.interpret(words, environment: environment) {
    case .run(let invocation): return invocation
    case .end(let ending):
        Issue.record("\(ending)")
        throw Ended(ending: ending)
    }
}
private struct Ended: Error { let ending: Ending }

private func end(
    _ words: [String], environment: [String: String] = [:], program: Program = ctl, before: @escaping (Stage) -> Ending? = { _ in nil }
) -> Ending? {
    if case .end(let ending) = program.interpret(words, environment: environment, before: before) { ending } else { nil }
}
private func firstLine(_ words: String..., program: Program = ctl) -> String? {
    end(words, program: program).map { $0.stdout.split(separator: "\n").first.map(String.init) ?? "" }
}

@Suite struct FlagTests {
    @Test(arguments: [["--name", "v"], ["-name", "v"], ["--name=v"], ["-n", "v"], ["-n=v"]])
    func everyFormGivesTheValue(_ form: [String]) throws {
        let invocation = try #require({ if case .run(let i) = ctl.interpret(["add"] + form + ["a", "b"], environment: [:]) { i } else { nil } }())
        #expect(invocation.flags.string("name") == "v" && invocation.flags.string("n") == "v")
        #expect(invocation.flags.isSet("n") && invocation.flags.isSet("name") && !invocation.flags.isSet("recursive"))
        #expect(invocation.arguments == ["a", "b"])
    }

    @Test func kinds() throws {
        let flags = try run(
            "add", "-r", "--replication", "0x10", "--wait=1m30s", "--metadata", "a=b", "--metadata", "c=d", "--ratio", "0.25").flags
        #expect(flags.bool("recursive") && flags.int("replication") == 16 && flags.duration("wait") == .seconds(90))
        #expect(flags.strings("metadata") == ["a=b", "c=d"] && flags.float("ratio") == 0.25)
        #expect(try run("add", "--recursive=false").flags.bool("r") == false)
        #expect(try run("add", "--name", "a", "--name", "b").flags.string("name") == "b")
        #expect(try run("add", "--replication", "-1").flags.int("replication") == -1)
    }

    @Test func flagsMayFollowArguments() throws {
        let after = try run("add", "dir", "-r", "--name", "x")
        #expect(after.arguments == ["dir"] && after.flags.bool("r") && after.flags.string("name") == "x")
        let unknownLater = try run("add", "dir", "--bogus")
        #expect(unknownLater.arguments == ["dir", "--bogus"])
        let dashes = try run("add", "--name", "x", "--", "-r", "y")
        #expect(dashes.arguments == ["-r", "y"] && !dashes.flags.bool("r"))
    }

    /// CLI-003.
    @Test func aWordAfterABooleanFlagEndsTheFlags() throws {
        let invocation = try run("add", "-r", "dir", "--name", "x")
        #expect(invocation.arguments == ["dir", "--name", "x"] && invocation.flags.string("name") == "")
    }

    @Test func environmentGivesDefaults() throws {
        #expect(try run("add", environment: ["WAIT": "5s"]).flags.duration("wait") == .seconds(5))
        #expect(try run("add", environment: ["WAIT_TOO": "6s"]).flags.duration("wait") == .seconds(6))
        #expect(try run("add", "--wait", "7s", environment: ["WAIT": "5s"]).flags.duration("wait") == .seconds(7))
        let invocation = try run("add", environment: ["PROG_PATH": "/e"])
        #expect(invocation.global.string("c") == "/e" && invocation.global.isSet("config"))
        #expect(end(["add"], environment: ["WAIT": "soon"])?.stderr == "could not parse soon as duration for flag wait\n")
    }

    @Test func wrongUsage() {
        #expect(firstLine("--bogus") == "Incorrect Usage. flag provided but not defined: -bogus")
        #expect(firstLine("-c") == "Incorrect Usage. flag needs an argument: -c")
        #expect(firstLine("add", "--bogus") == "Incorrect Usage: flag provided but not defined: -bogus")
        #expect(firstLine("add", "--replication", "x") == #"Incorrect Usage: invalid value "x" for flag -replication: parse error"#)
        #expect(firstLine("add", "--replication", "99999999999999999999")
            == #"Incorrect Usage: invalid value "99999999999999999999" for flag -replication: value out of range"#)
        #expect(firstLine("add", "--wait", "x") == #"Incorrect Usage: invalid value "x" for flag -wait: parse error"#)
        #expect(firstLine("add", "-r=x") == #"Incorrect Usage: invalid boolean value "x" for -r: parse error"#)
        #expect(firstLine("add", "---r") == "Incorrect Usage: bad flag syntax: ---r")
        #expect(firstLine("add", "-n", "a", "--name", "b") == "Incorrect Usage: Cannot use two forms of the same flag: n name")
        #expect(firstLine("pin", "--bogus", "ls") == "Incorrect Usage. flag provided but not defined: -bogus")
        #expect(end(["--bogus"])?.exit == 1 && end(["--bogus"], program: service)?.exit == 0)
        #expect(end(["add", "--bogus"])?.exit == 1 && end(["add", "--bogus"], program: service)?.exit == 0)
    }

    @Test func required() {
        var program = ctl
        program.commands[0].flags[1].isRequired = true
        #expect(end(["add"], program: program)?.stderr == "Required flag \"name\" not set\n")
        #expect(end(["add", "-n", "x"], program: program) == nil)
    }

    @Test func numbers() throws {
        let good: [(String, Int)] = [
            ("0", 0), ("10", 10), ("+7", 7), ("-7", -7), ("0x1F", 31), ("017", 15), ("0o17", 15), ("0b101", 5), ("0x_1f", 31), ("0_7", 7),
            ("1_000", 1000), ("-1_0", -10),
        ]
        for (text, value) in good { #expect(try integer(goText: text) == value) }
        for text in ["", "-", "0x", "08", "1e3", "_1", "1_", "1__0", "0x1_", "0x_", "0__7", " 1", "--1", "1.0"] {
            #expect(throws: NumberTextError.syntax, "\(text)") { try integer(goText: text, as: Int.self) }
        }
        #expect(throws: NumberTextError.syntax) { try integer(goText: "-1", as: UInt.self) }
        #expect(throws: NumberTextError.range) { try integer(goText: "256", as: UInt8.self) }
    }

    @Test func floats() throws {
        let good: [(String, Double)] = [
            ("0", 0), ("-1.5", -1.5), ("1_0.5", 10.5), ("1e3", 1000), (".5", 0.5), ("5.", 5), ("0x1p-2", 0.25), ("0X_1.8P1", 3), ("0x1p-1_0", 1 / 1024),
            ("1e-999", 0), ("+Inf", .infinity), ("-infinity", -.infinity),
        ]
        for (text, value) in good { #expect(try float(goText: text) == value, "\(text)") }
        #expect(try float(goText: "NaN").isNaN)
        for text in ["", "x", "1__0", "_1", "1_", "1_e3", "1_.5", "0x1", "0b1", "+nan", "nan(1)", "+-1", " 1", "0x-1p1"] {
            #expect(throws: NumberTextError.syntax, "\(text)") { try float(goText: text) }
        }
        #expect(throws: NumberTextError.range) { try float(goText: "1e999") }
    }
}

@Suite struct CommandTests {
    @Test func commandsAndGroups() throws {
        #expect(try run("add").path == ["add"])
        #expect(try run("p", "del", "x").path == ["pin", "rm"])
        let grouped = try run("-c", "/x", "pin", "--all", "ls", "y")
        #expect(grouped.path == ["pin", "ls"] && grouped.arguments == ["y"])
        #expect(grouped.global.string("config") == "/x" && grouped.levels[1].bool("all"))
    }

    @Test func unknownCommands() {
        #expect(end(["bogus"]) == Ending(stderr: "No help topic for 'bogus'\n", exit: 3))
        #expect(end(["pin", "bogus"]) == Ending(stderr: "No help topic for 'bogus'\n", exit: 3))
        #expect(end(["help", "bogus"]) == Ending(stderr: "No help topic for 'bogus'\n", exit: 3))
        #expect(end(["pin", "help", "bogus"]) == Ending(stderr: "No help topic for 'bogus'\n", exit: 3))
        #expect(end(["bogus"], program: service)?.exit == 1 && end([], program: service)?.exit == 1)
        #expect(end(["pin", "bogus"], program: service)?.exit == 3)
        #expect(end([])?.exit == 0 && end(["pin"])?.exit == 0 && end(["pin"], program: service)?.exit == 0)
    }

    @Test func versions() {
        for flag in ["--version", "-v", "-version"] {
            #expect(end([flag]) == Ending(stdout: "prog version 1.2.3\n", exit: 0))
        }
    }

    @Test func helpOfTheProgram() throws {
        let expected = """
            NAME:
               prog - does things

            USAGE:
               prog [global options] command [command options] [arguments...]

            VERSION:
               1.2.3

            COMMANDS:
               add      Add files
               pin, p   Pins
               help, h  List the commands, or explain one of them

            GLOBAL OPTIONS:
               --config FOLDER, -c FOLDER  the FOLDER (default: "/d") [$PROG_PATH]
               --help, -h                  explain this
               --version, -v               print the version

            """
        for words in [["--help"], ["-h"], ["help"], ["h"], []] {
            #expect(end(words) == Ending(stdout: expected, exit: 0), "\(words)")
        }
    }

    @Test func helpOfACommand() throws {
        let expected = """
            NAME:
               prog add - Add files

            USAGE:
               prog add [command options] <path>

            DESCRIPTION:
               Adds.

               More.

            OPTIONS:
               --recursive, -r       all of a folder
               --name NAME, -n NAME  sets a NAME
               --replication value   how many (default: 0)
               --wait value          how long (default: 1m30s) [$WAIT, $WAIT_TOO]
               --metadata key=value  key=value, again and again
               --ratio value         a part (default: 0.5)
            """ + "\n   \n"
        for words in [["add", "--help"], ["add", "x", "-h"], ["help", "add"]] {
            #expect(end(words) == Ending(stdout: expected, exit: 0), "\(words)")
        }
        #expect(end(["pin", "help", "ls"])?.stdout == "NAME:\n   prog pin ls - List\n\nUSAGE:\n   prog pin ls [arguments...]\n")
    }

    @Test func helpOfAGroup() throws {
        let expected = """
            NAME:
               prog pin - Pins

            USAGE:
               prog pin command [command options] [arguments...]

            COMMANDS:
               ls       List
               rm, del  Remove
               help, h  List the commands, or explain one of them

            OPTIONS:
               --all       every one
               --help, -h  explain this
            """ + "\n   \n"
        for words in [["pin"], ["pin", "--help"], ["p", "-h"]] { #expect(end(words) == Ending(stdout: expected, exit: 0), "\(words)") }
    }

    /// CLI-080, CLI-096.
    @Test func theProgramIsAskedBeforeCommandsAndTheirHelp() {
        let refusal = Ending.error("", "no")
        #expect(refusal.stderr == "error : no\n" && refusal.exit == 1)
        let always: (Stage) -> Ending? = { $0.path.isEmpty ? refusal : nil }
        for words in [["add"], [], ["pin", "--help"], ["help"], ["bogus"]] { #expect(end(words, before: always) == refusal, "\(words)") }
        #expect(end(["--help"], before: always)?.exit == 0)
        let group: (Stage) -> Ending? = { $0.path == ["pin"] ? refusal : nil }
        #expect(end(["pin", "ls", "--help"], before: group) == refusal && end(["pin", "--help"], before: group)?.exit == 0)
        let inner: (Stage) -> Ending? = { $0.path == ["pin", "ls"] && $0.levels[0].string("config") == "/x" ? refusal : nil }
        #expect(end(["-c", "/x", "pin", "ls"], before: inner) == refusal)
    }
}
