// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// A model's logits for given ids, to a file.
///
/// @param inputIds as [LogitsDump#run] reads them
/// @param logits to write
public record SaveLogitsStep(Path inputIds, Path logits) implements Step {
    @Override
    public String name() {
        return "save-logits";
    }

    @Override
    public Optional<Set<String>> figureNames() {
        return Optional.of(Set.of());
    }

    @Override
    public boolean writes() {
        return false; // no directory that a step could read
    }

    @Override
    public List<Input> inputs() {
        return List.of(new Input("the input ids", inputIds, false));
    }

    @Override
    public void check(Context context) {
        dump(context).bytes(context.model(), inputIds);
    }

    @Override
    public Plan plan(Context context) {
        return Plan.of(
                dump(context).bytes(context.model(), inputIds),
                () -> {
                    dump(context).run(context.model(), inputIds, logits);
                    return LinkedHashMap::new;
                });
    }

    private static LogitsDump dump(Context context) {
        return new LogitsDump(
                context.models(), context.backend(), context.progress(), context.memory());
    }
}
