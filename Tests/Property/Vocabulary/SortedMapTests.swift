// The map of the core against a dictionary, whatever way its values are changed.

import Kernel
import Testing

@Suite struct SortedMapTests {
    /// With few keys most runs have one entry, which stays in place when it is changed.
    @Test(arguments: [2, 10, 2000]) func itHoldsWhatADictionaryHolds(keys: Int) {
        var choices = Choices(seed: UInt64(keys))
        var map = SortedMap<Int, [Int]>(), model: [Int: [Int]] = [:]
        for number in 0..<20_000 {
            let key = choices.below(keys)
            switch choices.below(8) {
            case 0: (map[key], model[key]) = ([number], [number])
            case 1:
                map[key]?.append(number)
                model[key]?.append(number)
            case 2:
                map[key, default: []].append(number)
                model[key, default: []].append(number)
            case 3: #expect(map.remove(key) == model.removeValue(forKey: key))
            case 4: (map[key], model[key]) = (nil, nil)
            case 5:
                change(&map[key], number)
                change(&model[key], number)
            default: #expect(map[key] == model[key] && map.look(at: key) { $0 } == model[key])
            }
            #expect(map.count == model.count)
        }
        #expect(map.keys == model.keys.sorted() && map.values == model.keys.sorted().map { model[$0] ?? [] })
    }

    /// To nothing, to something else, or from nothing, in place.
    private func change(_ value: inout [Int]?, _ number: Int) {
        switch number % 3 {
        case 0: value = nil
        case 1: value = [number]
        default: value?.removeAll()
        }
    }
}
