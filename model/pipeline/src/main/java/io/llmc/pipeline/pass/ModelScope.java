// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Findings;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Progress;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.function.Consumer;
import java.util.function.Supplier;

/// Everything a [ModelPass] may touch.
///
/// @param model as it is before the pass
/// @param spelling of what the sweep writes
/// @param windows calibration data; null where the pass does not calibrate
/// @param spill directory for activations; null to keep them in memory
/// @param reports receives what is found
public record ModelScope(
        LanguageModel model,
        ModelPass.Spelling spelling,
        Windows windows,
        Path spill,
        Findings findings,
        Progress progress,
        Consumer<ModuleReport> reports) {

    /// The calibration sequences before the first block.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public HiddenStates sequences() {
        HiddenStates states = new HiddenStates(model, windows, spill);
        try {
            states.embed();
            return states;
        } catch (RuntimeException e) {
            states.close();
            throw e;
        }
    }

    /// Figures that an interrupted run need not compute again.
    public double[] remember(String name, Supplier<double[]> compute) {
        return findings.remember(name, compute);
    }

    public void report(ModuleReport report) {
        reports.accept(report);
    }
}
