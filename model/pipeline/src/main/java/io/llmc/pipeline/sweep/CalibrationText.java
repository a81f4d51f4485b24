// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Findings;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.generation.OwnText;
import io.llmc.tokenizer.CalibrationData;
import io.llmc.tokenizer.CalibrationSpec;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Windows;
import java.util.Arrays;
import java.util.OptionalLong;

/// The windows that a sweep calibrates with: of files, or of what the recipe's own model writes.
/// Its text is kept in the working directory, so that a run that goes on does not write it again.
///
/// @param spec of the windows that the sweep wants
/// @param original what the sweep reads, whose tokenizer reads the files
/// @param findings of the run
record CalibrationText(
        Step.Context context, CalibrationSpec spec, Checkpoint original, Findings findings) {

    /// As many as are asked for.
    Windows windows() {
        if (spec().isOwn()) {
            return part(0);
        }
        try (Tokenizer tokenizer = Tokenizer.open(original)) {
            return CalibrationData.load(spec(), tokenizer);
        }
    }

    /// Others, by their rising numbers; those behind the last are left out.
    ///
    /// @return null where none is left
    Windows more(int[] numbers) {
        if (!spec().isOwn()) {
            try (Tokenizer tokenizer = Tokenizer.open(original)) {
                return CalibrationData.more(spec(), tokenizer, numbers);
            }
        }
        int length = spec().length();
        int[] chosen = new int[numbers.length * length];
        Windows part = null;
        int of = -1;
        for (int i = 0; i < numbers.length; i++) {
            if (numbers[i] / spec().samples() != of) {
                of = numbers[i] / spec().samples();
                part = part(1 + of);
            }
            long from = (long) numbers[i] % spec().samples() * length;
            for (int t = 0; t < length; t++) {
                chosen[i * length + t] = part.id(from + t);
            }
        }
        return Windows.of(chosen, length);
    }

    private Windows part(int number) {
        double[] ids =
                findings.remember(
                        "own-text-" + number,
                        () -> {
                            try (Checkpoint model = model(context)) {
                                return toDoubles(
                                        new OwnText(model, context.backend(), context.progress())
                                                .write(
                                                        spec().samples(),
                                                        spec().length(),
                                                        spec().seed(),
                                                        number));
                            }
                        });
        return Windows.of(Arrays.stream(ids).mapToInt(id -> (int) id).toArray(), spec().length());
    }

    private static double[] toDoubles(int[] ids) {
        return Arrays.stream(ids).asDoubleStream().toArray();
    }

    @MustBeClosed
    private static Checkpoint model(Step.Context context) {
        return context.models().open(context.recipe().model(), _ -> {});
    }

    /// What is said before the work where the model writes the text.
    static String note(CalibrationSpec spec) {
        return "no calibration text is named: the model writes %,d windows of %,d tokens itself, with seed %d"
                .formatted(spec.samples(), spec.length(), spec.seed());
    }

    /// Bytes that writing takes; empty where there is nothing to write.
    ///
    /// @throws io.llmc.formats.UserException where the cap is lower
    static OptionalLong bytes(Step.Context context) {
        CalibrationSpec spec = context.recipe().calibration();
        if (!spec.isOwn()) {
            return OptionalLong.empty();
        }
        try (Checkpoint model = model(context)) {
            long bytes =
                    new OwnText(model, context.backend(), context.progress()).bytes(spec.length());
            boolean shares = context.backend().sharesHostMemory();
            long room = shares ? Long.MAX_VALUE : context.backend().room();
            ByteSize.requireWithin(
                    Math.min(context.memory(), room),
                    bytes,
                    "name a calibration text with {calibration.data}, which takes less than to let"
                            + " the model write one");
            return OptionalLong.of(bytes);
        }
    }
}
