// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.ExpertStack;
import io.llmc.formats.Json;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.CRC32C;

/// Streams tensors into safetensors shards whose headers are known from the plan before the first
/// byte of data. Tensors may come in any order and from several threads.
///
/// A shard takes the next tensors of the plan. Within it, data lies by falling element size, in the
/// order of the plan where equal, so that every tensor is aligned.
public final class CheckpointWriter implements AutoCloseable {
    private static final long CHUNK = 64L << 20;
    private static final long COPIED = 1L << 20;

    /// Bytes after which the disk gets to work: a system that keeps them until it is asked would
    /// leave all of them for the end, when nothing is left to compute beside.
    private static final long SETTLED = 256L << 20;

    private static final Pattern OURS =
            Pattern.compile("model(-\\d{5,}-of-\\d{5,})?\\.safetensors(\\.index\\.json)?");

    private final Path directory;
    private final List<Shard> shards = new ArrayList<>();
    private final Map<String, Shard> shardOf = new HashMap<>();
    private final Set<String> written = ConcurrentHashMap.newKeySet();

    private Stacking stacking = Stacking.NONE;
    private long unsettled;
    private CompletableFuture<Void> settling = CompletableFuture.completedFuture(null);

    private CheckpointWriter(Path directory) {
        this.directory = directory;
    }

    /// As [#create(Path, List, long, Map, boolean)] without more metadata.
    public static CheckpointWriter create(
            Path directory, List<TensorInfo> plan, long shardSize, boolean resume) {
        return create(directory, plan, shardSize, Map.of(), resume);
    }

    /// As [#create(Path, List, long, boolean)], with experts put together where all of their plain
    /// layers are planned.
    ///
    /// @param stacks what may be put together
    public static CheckpointWriter create(
            Path directory,
            List<TensorInfo> plan,
            long shardSize,
            List<ExpertStack> stacks,
            boolean resume) {
        Stacking stacking = Stacking.of(plan, stacks);
        CheckpointWriter writer = create(directory, stacking.files(), shardSize, Map.of(), resume);
        writer.stacking = stacking;
        return writer;
    }

    /// Creates `model.safetensors`, or `model-0000i-of-0000N.safetensors`, in `directory`, and the
    /// directory where it is missing. Files of these names that are not resumed are deleted.
    ///
    /// @param shardSize the most data bytes of a shard; a larger tensor gets its own
    /// @param metadata joins `{"format": "pt"}` in `__metadata__`
    /// @param resume keep a file that is there with the very same header; what of it is good is for
    ///   the caller to say, with [#markWritten]
    /// @throws UserException where the disk has no room, or no permission
    /// @throws IllegalArgumentException where two tensors of the plan have one name
    public static CheckpointWriter create(
            Path directory,
            List<TensorInfo> plan,
            long shardSize,
            Map<String, String> metadata,
            boolean resume) {
        List<List<TensorInfo>> parts = shards(plan, shardSize);
        CheckpointWriter writer = new CheckpointWriter(directory);
        try {
            Files.createDirectories(directory);
            List<String> names = names(parts.size());
            writer.deleteOthers(resume ? names : List.of());
            if (!resume) {
                requireSpace(directory, bytes(plan));
            }
            for (int i = 0; i < parts.size(); i++) {
                Path file = directory.resolve(names.get(i));
                writer.add(Shard.open(file, parts.get(i), metadata, resume));
            }
            return writer;
        } catch (IOException e) {
            writer.close();
            throw Json.unwritable(directory, e);
        } catch (RuntimeException e) {
            writer.close();
            throw e;
        }
    }

    private static List<String> names(int shards) {
        if (shards == 1) {
            return List.of(WeightFiles.SINGLE);
        }
        List<String> names = new ArrayList<>();
        for (int i = 1; i <= shards; i++) {
            names.add(String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", i, shards));
        }
        return names;
    }

    private void add(Shard shard) {
        shards.add(shard);
        for (String name : shard.names()) {
            if (shardOf.put(name, shard) != null) {
                throw new IllegalArgumentException("two tensors are planned as '" + name + "'");
            }
        }
    }

    private void deleteOthers(List<String> names) throws IOException {
        List<Path> others;
        try (Stream<Path> files = Files.list(directory)) {
            others =
                    files.filter(
                                    f -> {
                                        String name = f.getFileName().toString();
                                        return OURS.matcher(name).matches()
                                                && !names.contains(name);
                                    })
                            .toList();
        }
        for (Path file : others) {
            Files.delete(file);
        }
    }

    private static long bytes(List<TensorInfo> plan) {
        return plan.stream().mapToLong(TensorInfo::byteSize).sum();
    }

    /// @param directory need not be there yet
    /// @throws UserException where its disk has less room than this
    public static void requireSpace(Path directory, long bytes) throws IOException {
        Path there = directory.toAbsolutePath();
        while (!Files.exists(there)) {
            there = there.getParent();
        }
        long free = Files.getFileStore(there).getUsableSpace();
        if (free > 0 && free < bytes) {
            throw new UserException(
                    "%s: %,d bytes needed, %,d free on this disk".formatted(directory, bytes, free),
                    "free some space, or name an output on another disk");
        }
    }

    /// The tensors of each shard, in the order of the plan.
    public static List<List<TensorInfo>> shards(List<TensorInfo> plan, long shardSize) {
        if (shardSize <= 0) {
            throw new IllegalArgumentException("shard size must be positive: " + shardSize);
        }
        List<List<TensorInfo>> shards = new ArrayList<>();
        List<TensorInfo> last = new ArrayList<>();
        long bytes = 0;
        for (TensorInfo tensor : plan) {
            if (!last.isEmpty() && bytes + tensor.byteSize() > shardSize) {
                shards.add(List.copyOf(last));
                last.clear();
                bytes = 0;
            }
            last.add(tensor);
            bytes += tensor.byteSize();
        }
        shards.add(List.copyOf(last));
        return shards;
    }

    /// Writes one tensor, which must have the type and shape that the plan gives it. Reads straight
    /// from its memory.
    public void write(String name, Tensor tensor) {
        Stacking.Place place = stacking.place(name);
        if (place == null) {
            shardOf(name).write(name, tensor);
        } else {
            place.write(tensor, shardOf(name));
        }
        written.add(name);
        settle(tensor.byteSize());
    }

    private synchronized void settle(long bytes) {
        unsettled += bytes;
        if (unsettled >= SETTLED && settling.isDone()) {
            requireSettled();
            unsettled = 0;
            settling =
                    CompletableFuture.runAsync(
                            () -> shards.forEach(Shard::force),
                            force -> Thread.ofPlatform().daemon().name("llmc-disk").start(force));
        }
    }

    /// Throws what went wrong on the way to the disk.
    private void requireSettled() {
        try {
            settling.join();
        } catch (CompletionException e) {
            throw e.getCause() instanceof RuntimeException cause ? cause : e;
        }
    }

    /// Says that a file that was there before holds this tensor already.
    ///
    /// @throws IllegalStateException where its file is new, so that it cannot
    public void markWritten(String name) {
        if (!shardOf(name).reopened()) {
            throw new IllegalStateException("the file of '" + name + "' is new");
        }
        written.add(name);
    }

    /// Whether every file was there before, with the very same header.
    public boolean resumed() {
        return shards.stream().allMatch(Shard::reopened);
    }

    private Shard shardOf(String name) {
        Shard shard = shardOf.get(stacking.file(name));
        if (shard == null) {
            throw new IllegalArgumentException("'" + name + "' is not planned");
        }
        return shard;
    }

    /// CRC32C of the bytes of a tensor in host memory.
    public static long checksum(Tensor tensor) {
        CRC32C crc = new CRC32C();
        chunks(tensor.bytes()).forEach(crc::update);
        return crc.getValue();
    }

    /// A segment as direct buffers, one at a time: each is good until the next.
    ///
    /// Memory of Java arrays is copied, and so are mapped files: where one became shorter, a copy
    /// is an error, and a checksum or a system call that reads it is the end of the process.
    public static Stream<ByteBuffer> chunks(MemorySegment segment) {
        boolean direct = segment.isNative() && !segment.isMapped();
        long chunk = direct ? CHUNK : COPIED;
        ByteBuffer copy =
                ByteBuffer.allocateDirect(direct ? 0 : (int) Math.min(COPIED, segment.byteSize()));
        return Stream.iterate(0L, from -> from < segment.byteSize(), from -> from + chunk)
                .map(from -> {
                    long bytes = Math.min(chunk, segment.byteSize() - from);
                    MemorySegment part = segment.asSlice(from, bytes);
                    if (direct) {
                        return part.asByteBuffer();
                    }
                    MemorySegment.copy(part, 0, MemorySegment.ofBuffer(copy.clear()), 0, bytes);
                    return copy.limit((int) bytes);
                });
    }

    /// Returns once everything written so far is on the disk.
    public synchronized void sync() {
        requireSettled();
        shards.forEach(Shard::force);
    }

    /// Forces everything to disk and writes `model.safetensors.index.json` where there are several
    /// shards.
    ///
    /// @throws IllegalStateException where a planned tensor is missing
    public void finish() {
        for (Shard shard : shards) {
            for (String name : shard.names()) {
                for (String planned : stacking.planned(name)) {
                    if (!written.contains(planned)) {
                        throw new IllegalStateException(
                                "'" + planned + "' was planned but not written");
                    }
                }
            }
        }
        sync();
        if (shards.size() > 1) {
            writeIndex();
        }
    }

    private void writeIndex() {
        ObjectNode index = Json.object();
        long total = shards.stream().mapToLong(Shard::dataBytes).sum();
        index.putObject("metadata").put("total_size", total);
        ObjectNode map = index.putObject("weight_map");
        new TreeMap<>(shardOf).forEach((name, shard) -> map.put(name, shard.fileName()));
        Json.write(directory.resolve(WeightFiles.INDEX), index);
    }

    /// Without [#finish], leaves what is there for a run that resumes.
    @Override
    public synchronized void close() {
        settling.exceptionally(_ -> null).join(); // [#sync] tells of what went wrong
        shards.forEach(Shard::close);
    }
}
