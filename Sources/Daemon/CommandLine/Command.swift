// What a command line offers, as plain values: a program with commands, their flags, and what they are for.

import Encoding
import Kernel

package struct Flag: Sendable {
    package enum Kind: Equatable, Sendable {
        case bool(Bool)
        case string(String)
        case int(Int)
        case float(Double)
        case duration(Span)
        /// May be given several times.
        case strings
    }

    /// The long name first, then its aliases. Any of them may follow one or two dashes (CLI-002).
    package var names: [String]
    /// With the default value.
    package var kind: Kind
    /// A word in backquotes names the value in the help text.
    package var usage: String
    /// The first of these variables that is set gives the default.
    package var environment: [String] = []
    package var isHidden = false
    package var isRequired = false

    package init(
        _ names: String..., kind: Kind, usage: String, environment: [String] = [], isHidden: Bool = false,
        isRequired: Bool = false
    ) {
        self.names = names
        self.kind = kind
        self.usage = usage
        self.environment = environment
        self.isHidden = isHidden
        self.isRequired = isRequired
    }

    package var name: String { names[0] }
}

package struct Command: Sendable {
    package var name: String
    package var aliases: [String] = []
    package var usage: String
    package var description = ""
    /// What stands for the positional arguments in the help text.
    package var argsUsage = ""
    package var flags: [Flag] = []
    /// A command with subcommands is a group: its own flags precede the subcommand's name, and without one it prints help.
    package var subcommands: [Command] = []
    package var isHidden = false

    package init(
        _ name: String, aliases: [String] = [], usage: String, description: String = "", argsUsage: String = "",
        flags: [Flag] = [], subcommands: [Command] = [], isHidden: Bool = false
    ) {
        self.name = name
        self.aliases = aliases
        self.usage = usage
        self.description = description
        self.argsUsage = argsUsage
        self.flags = flags
        self.subcommands = subcommands
        self.isHidden = isHidden
    }

    package var names: [String] { [name] + aliases }
}

package struct Program: Sendable {
    package var name: String
    package var usage: String
    package var version: String
    package var description = ""
    /// They precede the command (CLI-001).
    package var flags: [Flag] = []
    package var commands: [Command]
    /// CLI-009: upstream's programs differ in what wrong usage is worth.
    package var usageErrorExit: Int32
    /// CLI-006, CLI-019: nil where an unknown command is an unknown help topic, and a missing one asks for help.
    /// Otherwise both print the help and end with this.
    package var noCommandExit: Int32?

    package init(
        _ name: String, usage: String, version: String, description: String = "", flags: [Flag] = [], commands: [Command],
        usageErrorExit: Int32, noCommandExit: Int32? = nil
    ) {
        self.name = name
        self.usage = usage
        self.version = version
        self.description = description
        self.flags = flags
        self.commands = commands
        self.usageErrorExit = usageErrorExit
        self.noCommandExit = noCommandExit
    }
}

/// Text to print before the process ends.
package struct Ending: Equatable, Sendable {
    package var stdout: String
    package var stderr: String
    package var exit: Int32

    package init(stdout: String = "", stderr: String = "", exit: Int32) {
        self.stdout = stdout
        self.stderr = stderr
        self.exit = exit
    }

    /// CLI-011: `doing` may be empty.
    package static func error(_ doing: String, _ reason: some CustomStringConvertible) -> Ending {
        Ending(stderr: "error \(doing): \(reason)\n", exit: 1)
    }
}

/// A command line that was understood.
package struct Invocation: Sendable {
    /// The names of the command and its groups, aliases resolved: `["pin", "add"]`.
    package let path: [String]
    /// The program's own flags first, then those of each group, the command's last.
    package let levels: [FlagValues]
    package let arguments: [String]

    package var global: FlagValues { levels[0] }
    package var flags: FlagValues { levels[levels.count - 1] }
}

package enum Outcome: Sendable {
    case run(Invocation)
    /// Help, a version, wrong usage: nothing to run.
    case end(Ending)
}
