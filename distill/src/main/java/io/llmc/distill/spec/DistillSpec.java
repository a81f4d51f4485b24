// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import io.llmc.backend.LossOp;
import io.llmc.distill.teacher.CacheHeader;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import io.llmc.tokenizer.WeightedText;
import java.nio.file.Path;
import java.util.List;

/// What a student learns, from whom, and how.
///
/// @param teacher a model directory; null where a cache or nobody is asked
/// @param teacherCache a directory that [SaveTeacherStep] has made; null for none
/// @param missing what becomes of the probability that a cache does not hold
/// @param data the files to learn from, and how much of each; empty for a cache's own text
/// @param order of the windows in every epoch
/// @param batch windows a step
/// @param length tokens of a window; 0 for those of the cache
/// @param accumulate steps whose gradients are added before the weights change
/// @param train globs over names of tensors; empty for all
/// @param lora adapters that are trained in the place of all weights; null for none
/// @param holdout windows at the end of the text that are only measured
/// @param every steps between measurements on them
/// @param patience measurements without improvement before it stops; 0 for never
/// @param saveEvery steps between checkpoints
/// @param saveMinutes between checkpoints, whichever comes first; 0 for never
/// @param blockwise each block learns its teacher's output on its own; `steps` is for each
/// @param checkpointBlocks keep only the blocks' inputs and run them again on the way back
public record DistillSpec(
        Path teacher,
        Path teacherCache,
        LossOp.Missing missing,
        List<WeightedText> data,
        Order order,
        int steps,
        int batch,
        int length,
        int accumulate,
        LossOp.LossWeights loss,
        Rate rate,
        Adam adam,
        List<String> train,
        Lora lora,
        long seed,
        int holdout,
        int every,
        int patience,
        int saveEvery,
        double saveMinutes,
        boolean checkpointBlocks,
        boolean blockwise,
        Inside inside) {
    /// In which order an epoch sees the windows of a file.
    public enum Order {
        SHUFFLED,
        FIRST
    }

    /// How the learning rate goes: up over `warmup` steps, then down to `end`.
    public enum Schedule {
        COSINE,
        LINEAR,
        CONSTANT
    }

    /// @param peak learning rate
    /// @param end as a part of the peak
    public record Rate(float peak, int warmup, Schedule schedule, float end) {}

    /// Losses between the blocks of the two models.
    ///
    /// @param hidden weight of the distance of the blocks' outputs
    /// @param attention weight of the divergence of the attention probabilities
    /// @param map the teacher's block that each of the student's stands for; empty to find it
    public record Inside(
            float hidden, LossOp.Distance distance, float attention, List<Integer> map) {
        public boolean any() {
            return hidden != 0 || attention != 0;
        }
    }

    /// How precisely Adam remembers gradients: in F32, or in 8 bits.
    public enum Algorithm {
        ADAMW,
        ADAMW8BIT
    }

    /// @param clip largest norm of all gradients together; 0 for none
    public record Adam(
            Algorithm algorithm, float beta1, float beta2, float eps, float decay, float clip) {}

    public static DistillSpec read(Options o) {
        return SpecReader.read(o);
    }

    /// Tokens that one change of the weights looks at.
    public long tokensPerStep() {
        return (long) batch * length * accumulate;
    }

    /// Whether a teacher that is there is asked.
    public boolean asks() {
        return loss.asksTeacher() || inside.any();
    }

    /// Of each text.
    public int[] weights() {
        return data.isEmpty()
                ? new int[] {1}
                : data.stream().mapToInt(WeightedText::weight).toArray();
    }

    /// Where a text comes from.
    public Path source(int text) {
        return data.isEmpty() ? teacherCache : data.get(text).file();
    }

    /// These, with windows as long as a cache's.
    ///
    /// @throws UserException where the cache was made with another length or temperature
    public DistillSpec matching(CacheHeader cache) {
        if (length != 0 && length != cache.length()) {
            throw new UserException(
                    "windows of %,d tokens are asked for, and those of %s have %,d"
                            .formatted(length, teacherCache, cache.length()),
                    "leave {length} out, or save the teacher's predictions with that {length}");
        }
        if (loss.asksTeacher() && loss.temperature() != cache.temperature()) {
            throw new UserException(
                    "the temperature is %s, and that of %s is %s"
                            .formatted(loss.temperature(), teacherCache, cache.temperature()),
                    "pass {temperature} " + cache.temperature());
        }
        return new DistillSpec(
                teacher,
                teacherCache,
                missing,
                data,
                order,
                steps,
                batch,
                cache.length(),
                accumulate,
                loss,
                rate,
                adam,
                train,
                lora,
                seed,
                holdout,
                every,
                patience,
                saveEvery,
                saveMinutes,
                checkpointBlocks,
                blockwise,
                inside);
    }
}
