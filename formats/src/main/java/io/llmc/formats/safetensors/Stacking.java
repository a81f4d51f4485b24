// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import io.llmc.formats.ExpertStack;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/// Planned tensors that go into files as parts of larger ones.
///
/// @param files what the files have, in the order of the plan
/// @param places of parts, by name
/// @param parts names of them, by the name of what they are parts of
record Stacking(
        List<TensorInfo> files, Map<String, Place> places, Map<String, List<String>> parts) {
    private static final Pattern EXPERT = Pattern.compile("(.*\\.experts\\.)(\\d{1,6})\\.");

    static final Stacking NONE = new Stacking(List.of(), Map.of(), Map.of());

    /// @param waiting experts of which some layers are not there yet
    record Place(
            ExpertStack.Part part,
            TensorInfo info,
            TensorInfo whole,
            Map<Integer, Waiting> waiting) {
        /// One whose bytes do not lie side by side waits until its expert's others have come.
        void write(Tensor tensor, Shard shard) {
            ExpertStack stack = part.stack();
            Shard.require(info, tensor);
            long at = part.expert() * stack.expertBytes(info);
            if (stack.isContiguous()) {
                shard.write(whole.name(), at + stack.place(part, info), tensor.bytes());
                return;
            }
            Waiting expert;
            synchronized (waiting) {
                expert = waiting.computeIfAbsent(part.expert(), _ -> new Waiting(stack, info));
            }
            stack.scatter(part, info, expert.bytes, tensor.bytes());
            if (expert.complete()) {
                shard.write(whole.name(), at, expert.bytes);
                synchronized (waiting) {
                    waiting.remove(part.expert());
                }
            }
        }
    }

    /// The bytes of one expert while its layers come.
    private static final class Waiting {
        private final MemorySegment bytes;
        private int missing;

        Waiting(ExpertStack stack, TensorInfo part) {
            bytes = Arena.ofAuto().allocate(stack.expertBytes(part), 64);
            missing = stack.layers().size();
        }

        synchronized boolean complete() {
            missing--;
            return missing == 0;
        }
    }

    static Stacking of(List<TensorInfo> plan, List<ExpertStack> stacks) {
        SequencedMap<String, TensorInfo> planned = new LinkedHashMap<>();
        plan.forEach(t -> planned.put(t.name(), t));
        Map<String, Integer> experts = experts(planned.keySet());
        Map<ExpertStack, List<ExpertStack.Part>> found = new LinkedHashMap<>();
        for (ExpertStack stack : stacks) {
            found.put(stack, found(stack, experts.getOrDefault(stack.experts(), 0), planned));
        }
        // Readers know a block's experts as tensors of all or as tensors of each, not as both.
        Set<String> apart =
                found.entrySet().stream()
                        .filter(e -> e.getValue().isEmpty())
                        .map(e -> e.getKey().experts())
                        .collect(Collectors.toSet());
        Map<String, Place> places = new HashMap<>();
        Map<String, List<String>> parts = new HashMap<>();
        found.forEach((stack, layers) -> {
            if (apart.contains(stack.experts())) {
                return;
            }
            TensorInfo first = planned.get(layers.getFirst().name());
            TensorInfo whole = stack.whole(first, layers.size() / stack.layers().size());
            Map<Integer, Waiting> waiting = new HashMap<>();
            for (ExpertStack.Part part : layers) {
                TensorInfo info = planned.get(part.name());
                places.put(part.name(), new Place(part, info, whole, waiting));
            }
            parts.put(whole.name(), layers.stream().map(ExpertStack.Part::name).toList());
        });
        return new Stacking(files(plan, places), places, parts);
    }

    /// How many experts there are, by what their names begin with; whatever form they have.
    private static Map<String, Integer> experts(Set<String> names) {
        Map<String, Integer> counts = new HashMap<>();
        for (String name : names) {
            Matcher m = EXPERT.matcher(name);
            if (m.lookingAt()) {
                counts.merge(m.group(1), Integer.parseInt(m.group(2)) + 1, Math::max);
            }
        }
        return counts;
    }

    /// The layers of all experts; none where some layers are not plain, or not alike.
    private static List<ExpertStack.Part> found(
            ExpertStack stack, int experts, Map<String, TensorInfo> planned) {
        List<ExpertStack.Part> found = new ArrayList<>();
        TensorInfo first = null;
        for (ExpertStack.Part part : stack.parts(experts)) {
            TensorInfo t = planned.get(part.name());
            first = first == null ? t : first;
            if (t == null
                    || t.dtype() != first.dtype()
                    || !t.shape().equals(first.shape())
                    || planned.containsKey(part.name() + "_scale")) {
                return List.of();
            }
            found.add(part);
        }
        return found;
    }

    private static List<TensorInfo> files(List<TensorInfo> plan, Map<String, Place> places) {
        SequencedMap<String, TensorInfo> files = new LinkedHashMap<>();
        for (TensorInfo t : plan) {
            Place place = places.get(t.name());
            TensorInfo file = place == null ? t : place.whole();
            if (place == null && files.containsKey(file.name())) {
                throw new IllegalArgumentException(
                        "two tensors are planned as '" + file.name() + "'");
            }
            files.put(file.name(), file);
        }
        return List.copyOf(files.sequencedValues());
    }

    /// Null for a tensor that is no part of another.
    Place place(String name) {
        return places.get(name);
    }

    /// What the files call it, or what it is a part of.
    String file(String name) {
        Place place = places.get(name);
        return place == null ? name : place.whole().name();
    }

    /// The planned tensors that make one of the files.
    List<String> planned(String file) {
        return parts.getOrDefault(file, List.of(file));
    }
}
