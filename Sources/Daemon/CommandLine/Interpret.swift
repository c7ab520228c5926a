// From words to a command to run, or to what is printed instead. CLI-001..010.

import Encoding
import Kernel

/// A level that was reached: the program itself (an empty path), a group or the command.
package struct Stage: Sendable {
    package let path: [String]
    package let levels: [FlagValues]
    package var flags: FlagValues { levels[levels.count - 1] }
}

private let helpFlag = Flag("help", "h", kind: .bool(false), usage: "explain this")
private let versionFlag = Flag("version", "v", kind: .bool(false), usage: "print the version")
private let helpCommand = Command(
    "help", aliases: ["h"], usage: "List the commands, or explain one of them", argsUsage: "[command]")

extension Program {
    /// The words after the program's own name. `before` is asked at each level as it is reached, after its flags and its
    /// `--help` and before anything below it, and may end the run there (CLI-080, CLI-096).
    package func interpret(
        _ words: [String], environment: [String: String], before: @escaping (Stage) -> Ending? = { _ in nil }
    ) -> Outcome {
        let app = App(
            name: name, usage: usage, version: version, description: description, argsUsage: "",
            flags: flags + [helpFlag, versionFlag], commands: commands + [helpCommand], isProgram: true)
        let walk = Walk(program: self, environment: environment, before: before)
        do throws(End) { return .run(try walk.app(app, words, path: [], levels: [])) } catch { return .end(error.ending) }
    }
}

/// A program, or a group of commands, which is read like one.
struct App {
    let name: String
    let usage: String
    let version: String
    let description: String
    let argsUsage: String
    let flags: [Flag]
    let commands: [Command]
    let isProgram: Bool

    func command(_ name: String) -> Command? { commands.first { $0.names.contains(name) } }
}

private struct End: Error { let ending: Ending }

private struct Walk {
    let program: Program
    let environment: [String: String]
    let before: (Stage) -> Ending?

    func app(_ app: App, _ words: [String], path: [String], levels: [FlagValues]) throws(End) -> Invocation {
        let usage = { (reason: String) in
            End(ending: Ending(stdout: "Incorrect Usage. \(reason)\n\n" + app.generalHelp, exit: program.usageErrorExit))
        }
        var values = try flagValues(app.flags)
        let rest: [String]
        do throws(UsageError) { rest = try values.take(words) } catch { throw usage(error.description) }
        if values.bool("help") { throw End(ending: Ending(stdout: app.generalHelp, exit: 0)) }
        if app.isProgram, values.bool("version") {
            throw End(ending: Ending(stdout: "\(app.name) version \(app.version)\n", exit: 0))
        }
        try checkRequired(values, help: app.generalHelp)
        let stage = Stage(path: path, levels: levels + [values])
        if let ending = before(stage) { throw End(ending: ending) }
        guard let word = rest.first else { throw noCommand(app) }
        guard let command = app.command(word) else { throw unknown(word, app) }
        return try self.command(command, of: app, Array(rest.dropFirst()), stage)
    }

    private func noCommand(_ app: App) -> End {
        End(ending: Ending(stdout: app.generalHelp, exit: app.isProgram ? program.noCommandExit ?? 0 : 0))
    }

    private func unknown(_ word: String, _ app: App) -> End {
        if app.isProgram, let exit = program.noCommandExit { return End(ending: Ending(stdout: app.generalHelp, exit: exit)) }
        return noTopic(word)
    }

    private func noTopic(_ word: String) -> End {
        End(ending: Ending(stderr: "No help topic for '\(word)'\n", exit: 3))
    }

    private func command(
        _ command: Command, of app: App, _ words: [String], _ above: Stage
    ) throws(End) -> Invocation {
        let path = above.path + [command.name]
        guard command.subcommands.isEmpty else {
            let group = App(
                name: "\(app.name) \(command.name)", usage: command.usage, version: app.version,
                description: command.description, argsUsage: command.argsUsage, flags: command.flags + [helpFlag],
                commands: command.subcommands + [helpCommand], isProgram: false)
            return try self.app(group, words, path: path, levels: above.levels)
        }
        let help = command.help(below: app.name)
        let flags = command.flags + [helpFlag]
        var values = try flagValues(flags)
        let rest: [String]
        do throws(UsageError) { rest = try values.take(reordered(words, for: flags)) } catch {
            throw End(ending: Ending(stdout: "Incorrect Usage: \(error)\n\n" + help, exit: program.usageErrorExit))
        }
        if values.bool("help") { throw End(ending: Ending(stdout: help, exit: 0)) }
        if command.name == helpCommand.name { throw explain(rest.first, app) }
        try checkRequired(values, help: help)
        let stage = Stage(path: path, levels: above.levels + [values])
        if let ending = before(stage) { throw End(ending: ending) }
        return Invocation(path: path, levels: stage.levels, arguments: rest)
    }

    private func explain(_ topic: String?, _ app: App) -> End {
        guard let topic else { return End(ending: Ending(stdout: app.programHelp, exit: 0)) }
        guard let command = app.command(topic) else { return noTopic(topic) }
        return End(ending: Ending(stdout: command.help(below: app.name), exit: 0))
    }

    private func flagValues(_ flags: [Flag]) throws(End) -> FlagValues {
        do throws(UsageError) { return try FlagValues(flags, environment: environment) } catch {
            throw End(ending: Ending(stderr: "\(error)\n", exit: 1))
        }
    }

    private func checkRequired(_ values: FlagValues, help: String) throws(End) {
        let missing = values.missing
        guard !missing.isEmpty else { return }
        let reason = "Required flag\(missing.count > 1 ? "s" : "") \"\(missing.joined(separator: ", "))\" not set"
        throw End(ending: Ending(stdout: help, stderr: reason + "\n", exit: program.usageErrorExit))
    }
}
