// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// What came of all tasks.
///
/// @param against the original; null for none
public record TasksResult(Path model, Path against, List<TaskResult> tasks)
        implements Step.Outcome {
    @Override
    public SequencedMap<String, Object> figures() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("model", model.toString());
        if (against != null) {
            map.put("original", against.toString());
        }
        SequencedMap<String, Object> each = new LinkedHashMap<>();
        tasks.forEach(task -> each.put(task.name(), task.figures()));
        map.put("tasks", each);
        return map;
    }
}
