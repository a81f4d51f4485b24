// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.Forward;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/// A model directory's residual streams and logits, all of them at once.
///
/// @param streams before the first block and after each, `[tokens * hidden]`
/// @param logits `[tokens * vocabulary]`
public record PlainForward(Windows windows, List<float[]> streams, float[] logits, int vocabulary) {
    /// Through the given blocks alone; null for all of them. Few enough tokens for one chunk.
    public static PlainForward of(Path directory, List<Integer> blocks, Windows windows) {
        try (Checkpoint c = Checkpoint.open(directory)) {
            return of(c, blocks, windows);
        }
    }

    /// The same of a checkpoint that need not be a directory's.
    public static PlainForward of(Checkpoint c, List<Integer> blocks, Windows windows) {
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(model, windows, null)) {
            int layers = model.spec().layers().size();
            List<float[]> streams = new ArrayList<>();
            states.embed();
            states.forEach((x, _) -> streams.add(backend.floats(x)));
            for (int b : blocks == null ? IntStream.range(0, layers).boxed().toList() : blocks) {
                states.advance(b);
                states.forEach((x, _) -> streams.add(backend.floats(x)));
            }
            float[][] logits = new float[1][];
            states.forEach((x, _) -> logits[0] = logits(model, states, x));
            return new PlainForward(windows, streams, logits[0], model.spec().vocabulary());
        }
    }

    private static float[] logits(LanguageModel model, HiddenStates states, Tensor x) {
        long bytes = 4 * (x.shape().size() + 2 * x.rows() * model.spec().vocabulary()) + 4096;
        try (TensorArena arena = model.backend().newArena(bytes)) {
            Forward f = new Forward(model.backend(), arena, states.positions());
            Tensor normed = arena.allocate(DType.F32, x.shape());
            Tensor out = arena.allocate(DType.F32, new Shape(x.rows(), model.spec().vocabulary()));
            model.finalNorm(f, normed, x);
            model.logits(f, out, normed);
            return model.backend().floats(out);
        }
    }

    /// Mean negative log-likelihood of every token but the first of each window.
    public double loss() {
        int[] ids = windows.ids().toArray(java.lang.foreign.ValueLayout.JAVA_INT);
        double sum = 0;
        int count = 0;
        for (int t = 0; t + 1 < ids.length; t++) {
            if ((t + 1) % windows.length() == 0) {
                continue;
            }
            double total = 0;
            for (int v = 0; v < vocabulary; v++) {
                total += Math.exp(logits[t * vocabulary + v]);
            }
            sum += Math.log(total) - logits[t * vocabulary + ids[t + 1]];
            count++;
        }
        return sum / count;
    }

    int hidden() {
        return streams.getFirst().length / windows.count() / windows.length();
    }

    /// The cosine between a token's rows of two streams.
    public double cosine(int from, int to, int token) {
        double dot = 0;
        double a = 0;
        double b = 0;
        for (int i = 0; i < hidden(); i++) {
            double x = streams.get(from)[token * hidden() + i];
            double y = streams.get(to)[token * hidden() + i];
            dot += x * y;
            a += x * x;
            b += y * y;
        }
        return dot / Math.sqrt(a) / Math.sqrt(b);
    }
}
