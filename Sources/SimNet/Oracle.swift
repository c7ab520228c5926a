// What must hold of every run. The names are those of the bug zoo where it has one; they are used in failures, in tests, in
// docs and by `sweep --until`.

package enum Oracle: String, CaseIterable, Sendable {
    // The CRDT.
    case digest = "DIGEST"
    case refold = "REFOLD"
    case heads = "HEADS"
    case fetchable = "FETCHABLE"
    case cover = "COVER"
    case height = "HEIGHT"
    case min = "MIN"
    case codec = "CODEC"
    // What clients were told.
    case durable = "DURABLE"
    case accepted = "ACCEPTED"
    case answer = "ANSWER"
    case add = "ADD"
    // Pinning.
    case truth = "TRUTH"
    case intent = "INTENT"
    case settle = "SETTLE"
    case count = "COUNT"
    case expiry = "EXPIRY"
    // Allocation and trust.
    case alloc = "ALLOC"
    case repin = "REPIN"
    case trust = "TRUST"
    // Progress and bounds.
    case live = "LIVE"
    case circle = "CIRCLE"
    case gossip = "GOSSIP"
    case found = "FOUND"
    case spread = "SPREAD"
    case wants = "WANTS"
    case calls = "CALLS"
    case lookup = "LOOKUP"
    case bound = "BOUND"
    case spin = "SPIN"
    case start = "START"
    // The transport.
    case wire = "WIRE"
    // Told by whoever watches the process of a run.
    case trap = "TRAP"
    case endless = "ENDLESS"

    package var statement: String {
        switch self {
        case .digest: "Peers with the same heads and nothing missing have the same state, at all times."
        case .refold: "The state is what a naive fold of the DAG gives."
        case .heads: "Heads are an antichain, and every merged block is below one of them."
        case .fetchable: "Every block below the heads can be read, whenever the heads change; nobody builds upon what it does not have."
        case .cover: "Healed, every peer comes to have what the others have: the same heads, the same state; who lacks nothing is not dirty for longer than a repair takes."
        case .height: "A block is higher than what it links to, and than all that its writer had merged."
        case .min: "No block removes what a block below it has removed, nor holds a key twice, and what was asked for once is published once; dials, questions and streams of gossip back off, what an IPFS daemon that fails is asked waits for its turn and goes when it answers, and one silence makes one alert, one's own sleep none; and metrics are told when it is time, or there is something new."
        case .codec: "A value that a peer writes is as everybody would write it."
        case .durable: "What a client was told is accepted survives every crash."
        case .accepted: "Every accepted operation is committed in bounded time, and none waits for nothing."
        case .answer: "Every answer to a client is what the peer holds at that time, in each field of a status and of what is told of peers, or what the rules make of a write; what is recovered is so with its parts; what moves off who is to be removed has done so; what may not be is refused, in the right words; every request ends, once."
        case .add: "What was added is held in full by each of its allocations, and by somebody from the moment on that the client is told; it is pinned as it was asked, and an add goes on while one peer takes its blocks, and who sends some is told that the daemon has not taken them; a shard is a part of something that has all its shards; no collection of garbage takes what is pinned, or is just being pinned."
        case .truth: "What a peer says of a pin is what its IPFS daemon holds, where that did not change meanwhile; what a peer tells of itself by metrics is true of it, and nobody tells more free space than there can be."
        case .intent: "The pins that one peer alone wrote are what it was asked last; IPFS pins with the mode that the pinset has, is asked for nothing before that has been read, and for nothing twice at a time."
        case .settle: "At rest, IPFS pins exactly what is allocated to it, and nothing is said to have failed that is as it should be."
        case .count: "The attempts that a status tells are those that were made, since they began to fail, and its time is that of the last failure; none is taken for success."
        case .expiry: "Nothing stays that has expired."
        case .alloc: "Allocations obey the factors, name each peer once, and nobody unknown; they are such as the rules allow for what the peer had heard, and groups of peers take turns."
        case .repin: "A pin below its minimum is re-pinned by somebody as soon as the loss is noticed, once for each loss; where that is off, by nobody."
        case .trust: "A peer that nobody trusts changes nothing, has nothing fetched, and is told nothing that only the trusted may ask; nobody believes or passes on what its author has not said, or whom it does not trust."
        case .live: "A peer that runs is ready in bounded time, sees who is there, whoever has added it at once, notices who is silent, and takes nobody for silent where nothing goes wrong; it tells how it is before that runs out, and whenever somebody comes, dials those again whom it has lost, and looks after what its IPFS daemon has lost."
        case .circle: "A healed cluster does not go round in circles, nor wait for nothing."
        case .gossip: "A mesh is thinner than its upper bound, so that newcomers are let in, and takes in who is near where it is too thin, some whom the peer has dialled itself, and whoever asks and may come; who comes into it or goes is told, and nobody is grafted who is to be left alone; what is new goes to all of it at once, is told of to others, asked for and given, and never said twice; in a sound network a message gets to everybody within a bound."
        case .found: "In a sound network everybody comes to be connected to everybody within a bound, however few each knew at first."
        case .spread: "In a sound network a new block gets to everybody within a bound."
        case .wants: "Whoever wants a block gets it soon from a peer that has it, over a sound connection, or hears at once that it is not there; what a peer wanted last is kept in mind, and nothing that it wants no more; who wants nothing more says so, nobody is given what it does not want; and lists of blocks are asked for, answered, and read to their end, each page once."
        case .calls: "A call of another peer, or a request to IPFS, says at once what it wants; it goes on for as long as somebody waits for its answer and it has time, ends at both ends, and nothing is said in it after that; and for whoever has garbage collected, one daemon at a time does it."
        case .lookup: "Whoever looks for a peer asks the nearest that it has heard of, a few at a time, and nobody once that is over; who answers is in the table and who does not is not, and others are told of the nearest in it; who is not reached is looked for, and those around are, again and again."
        case .bound: "Memory and queues stay within their limits, a step sends few of the blocks of an upload, whoever uploads waits for them to be taken, nothing is kept for those who have gone, and no disk holds what no checkpoint names, nor an index what is erased."
        case .spin: "Time passes."
        case .start: "A peer starts on whatever a crash has left of its disk; all that it had merged is there, nothing is damaged, and whoever comes upon damage all the same mends it; and it says when it is ready."
        case .wire: "What was sent on a stream comes whole and in order, and nothing else; it ends at both ends, for a reason; both know who is connected, what they serve, and soon who is gone; and what is dialled is reached, or said not to be."
        case .trap: "No invariant of a machine breaks: counters are folds over what they count, nothing is known twice."
        case .endless: "Every step ends."
        }
    }
}
