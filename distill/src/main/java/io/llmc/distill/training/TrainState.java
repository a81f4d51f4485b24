// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import io.llmc.backend.Backend;
import io.llmc.distill.spec.Parameter;
import io.llmc.distill.student.TrainedModel;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.safetensors.TensorFile;
import io.llmc.formats.safetensors.TensorFileWriter;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// Where a training run is: what it needs to go on as if nothing had happened.
///
/// @param step done
/// @param best least loss on the held-out windows so far; infinite before the first
/// @param since measurements without a better one
/// @param log one JSON object a step
public record TrainState(int step, double best, int since, List<String> log) {
    /// Bytes of the buffer that tensors go through.
    public static final int CHUNK = 1 << 20;

    private static final String LOG = "log";

    private static final Pattern SAVED =
            Pattern.compile("(train-state|best-weights|block).*\\.bin(\\.tmp)?");

    public static TrainState beginning() {
        return new TrainState(0, Double.POSITIVE_INFINITY, 0, new ArrayList<>());
    }

    /// One file of tensors: those of the student, with what the optimizer remembers of each, and
    /// the log.
    public void save(Path file, TrainedModel student) {
        save(file, tensors(student, true), student.model().backend());
    }

    /// Keeps the weights without the optimizer's states: the best so far, or a finished block.
    public void saveWeights(Path file, TrainedModel student) {
        save(file, tensors(student, false), student.model().backend());
    }

    private void save(Path file, SequencedMap<String, Tensor> tensors, Backend backend) {
        byte[] lines = String.join("\n", log).getBytes(StandardCharsets.UTF_8);
        List<TensorInfo> plan = plan(tensors);
        plan.add(TensorInfo.of(LOG, DType.U8, lines.length));
        try (TensorFileWriter out = TensorFileWriter.keep(file, place(), plan);
                Arena memory = backend.host().newArena()) {
            MemorySegment buffer = memory.allocate(CHUNK, 64);
            for (Tensor t : tensors.values()) {
                for (Tensor part : parts(t)) {
                    MemorySegment host = buffer.asSlice(0, part.byteSize());
                    backend.download(host, part);
                    out.append(host);
                }
            }
            out.append(MemorySegment.ofArray(lines));
            out.force();
            out.finish();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private Map<String, String> place() {
        return Map.of(
                "step", Integer.toString(step),
                "best", Double.toHexString(best),
                "since", Integer.toString(since));
    }

    private static List<TensorInfo> plan(SequencedMap<String, Tensor> tensors) {
        List<TensorInfo> plan = new ArrayList<>();
        tensors.forEach((name, t) -> plan.add(new TensorInfo(name, t.dtype(), t.shape())));
        return plan;
    }

    /// @return null where there is no whole file
    public static TrainState restore(Path file, TrainedModel student) {
        return restore(file, tensors(student, true), student.model().backend());
    }

    /// @return null where there is no whole file
    public static TrainState restoreWeights(Path file, TrainedModel student) {
        return restore(file, tensors(student, false), student.model().backend());
    }

    /// Looks at the whole file before it changes a tensor.
    private static TrainState restore(
            Path file, SequencedMap<String, Tensor> tensors, Backend backend) {
        try (TensorFile saved = TensorFile.whole(file);
                Arena memory = backend.host().newArena()) {
            if (saved == null || !holds(saved, plan(tensors))) {
                return null;
            }
            MemorySegment buffer = memory.allocate(CHUNK, 64);
            for (Map.Entry<String, Tensor> e : tensors.entrySet()) {
                long at = 0;
                for (Tensor part : parts(e.getValue())) {
                    MemorySegment host = buffer.asSlice(0, part.byteSize());
                    saved.read(e.getKey(), at, host);
                    backend.upload(part, host);
                    at += part.byteSize();
                }
            }
            return of(saved);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// These tensors and a log.
    private static boolean holds(TensorFile saved, List<TensorInfo> plan) {
        List<TensorInfo> all = saved.tensors();
        return !all.isEmpty()
                && all.getLast().name().equals(LOG)
                && all.subList(0, all.size() - 1).equals(plan);
    }

    /// Where the run was that has saved this file.
    static TrainState of(TensorFile saved) throws IOException {
        Map<String, String> place = saved.metadata();
        try (Arena memory = Arena.ofConfined()) {
            byte[] lines = saved.tensor(LOG, memory).bytes().toArray(ValueLayout.JAVA_BYTE);
            return new TrainState(
                    Integer.parseInt(place.get("step")),
                    Double.parseDouble(place.get("best")),
                    Integer.parseInt(place.get("since")),
                    new String(lines, StandardCharsets.UTF_8)
                            .lines()
                            .collect(Collectors.toCollection(ArrayList::new)));
        }
    }

    /// Deletes what runs have saved in a working directory: whatever a run saves is one of these,
    /// whole or cut short.
    public static void delete(Path work) {
        try (Stream<Path> files = Files.list(work)) {
            for (Path file : files.toList()) {
                if (SAVED.matcher(file.getFileName().toString()).matches()) {
                    Files.delete(file);
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// By name, with what Adam remembers of each behind it.
    private static SequencedMap<String, Tensor> tensors(TrainedModel student, boolean all) {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        for (Parameter p : student.trained().values()) {
            tensors.put(p.name(), p.values());
            List<Tensor> states = all ? p.adam().tensors() : List.of();
            for (int i = 0; i < states.size(); i++) {
                tensors.put(p.name() + ".adam." + i, states.get(i));
            }
        }
        return tensors;
    }

    /// A tensor in pieces that fit the buffer.
    private static List<Tensor> parts(Tensor t) {
        long all = t.shape().size();
        Tensor flat = t.reshape(all, 1);
        List<Tensor> parts = new ArrayList<>();
        for (long from = 0; from < all; from += CHUNK / 4) {
            parts.add(flat.rows(from, Math.min(all, from + CHUNK / 4)));
        }
        return parts;
    }
}
