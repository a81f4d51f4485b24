// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.LayerSpec;
import io.llmc.model.arch.Architectures;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/// Which of the teacher's blocks each block of the student stands for.
///
/// A block of the student also stands for the teacher's blocks that were dropped behind it: its
/// output is to be what the next counterpart reads.
///
/// @param counterparts rising; one for each block of the student
/// @param teachers blocks of the teacher
/// @param found how, for people
public record LayerMap(List<Integer> counterparts, int teachers, String found) {

    /// As the user says, else found by the norms, which pruning of layers and quantizing leave as
    /// they are, else evenly spread.
    ///
    /// @param explicit may be empty
    /// @throws UserException where they are no such list
    public static LayerMap of(Checkpoint student, Checkpoint teacher, List<Integer> explicit) {
        List<LayerSpec> mine = Architectures.specOf(student).layers();
        List<LayerSpec> theirs = Architectures.specOf(teacher).layers();
        if (!explicit.isEmpty()) {
            requireValid(explicit, mine.size(), theirs.size());
            return new LayerMap(explicit, theirs.size(), "as given");
        }
        if (mine.size() == theirs.size()) {
            List<Integer> same = IntStream.range(0, mine.size()).boxed().toList();
            return new LayerMap(same, theirs.size(), "one to one");
        }
        if (mine.size() > theirs.size()) {
            throw new UserException(
                    "the student has %d blocks and the teacher %d"
                            .formatted(mine.size(), theirs.size()),
                    "blocks can only be compared where the teacher has as many or more");
        }
        List<Integer> equal = byNorms(student, mine, teacher, theirs);
        return equal != null
                ? new LayerMap(equal, theirs.size(), "by equal norms")
                : new LayerMap(spread(mine.size(), theirs.size()), theirs.size(), "evenly spread");
    }

    private static void requireValid(List<Integer> map, int students, int teachers) {
        boolean rising = IntStream.range(1, map.size()).allMatch(i -> map.get(i - 1) < map.get(i));
        if (map.size() != students || !rising || map.getFirst() < 0 || map.getLast() >= teachers) {
            throw new UserException(
                    "{map} %s is no rising list of %d blocks between 0 and %d"
                            .formatted(map, students, teachers - 1),
                    "name one of the teacher's blocks for each of the student's");
        }
    }

    private static List<Integer> spread(int students, int teachers) {
        return IntStream.range(0, students)
                .map(i -> (int) Math.round((double) i * teachers / students))
                .boxed()
                .toList();
    }

    /// Null where some block has no counterpart.
    private static List<Integer> byNorms(
            Checkpoint student, List<LayerSpec> mine, Checkpoint teacher, List<LayerSpec> theirs) {
        List<Integer> map = new ArrayList<>();
        int next = 0;
        for (LayerSpec block : mine) {
            while (next < theirs.size()
                    && !equalNorms(student, block.prefix(), teacher, theirs.get(next).prefix())) {
                next++;
            }
            if (next == theirs.size()) {
                return null;
            }
            map.add(next++);
        }
        return map;
    }

    private static boolean equalNorms(Checkpoint a, String mine, Checkpoint b, String theirs) {
        List<String> norms =
                a.names().stream()
                        .filter(n -> n.startsWith(mine) && n.endsWith(".weight"))
                        .filter(n -> a.info(n).shape().rank() == 1)
                        .toList();
        try (TensorReader own = a.reader();
                TensorReader other = b.reader()) {
            for (String name : norms) {
                String counterpart = theirs + name.substring(mine.length());
                if (!b.has(counterpart)
                        || !a.info(name).shape().equals(b.info(counterpart).shape())
                        || own.tensor(name).bytes().mismatch(other.tensor(counterpart).bytes())
                                >= 0) {
                    return false;
                }
            }
        }
        return !norms.isEmpty();
    }

    /// The teacher's block whose output a block of the student is to give.
    public int target(int block) {
        return block + 1 < counterparts.size() ? counterparts.get(block + 1) - 1 : teachers - 1;
    }
}
