// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.formats.UserException;
import io.llmc.pipeline.pass.BlockPass;
import java.util.Collections;
import java.util.List;
import java.util.Set;

/// Which passes of a sweep need another behind them.
final class PassOrder {
    private PassOrder() {}

    /// @param selected by each pass
    /// @throws UserException where a pass makes weights easier to round that nobody rounds
    static void requireRounding(List<BlockPass> passes, List<Set<String>> selected) {
        for (int p = 0; p < passes.size(); p++) {
            if (!passes.get(p).preparesRounding()) {
                continue;
            }
            boolean rounded = false;
            for (int q = p + 1; q < passes.size(); q++) {
                rounded |=
                        passes.get(q).solver().isPresent()
                                && !Collections.disjoint(selected.get(p), selected.get(q));
            }
            if (!rounded) {
                throw new UserException(
                        "%s makes layers easier to round, but no method behind it rounds them"
                                .formatted(passes.get(p).name()),
                        "put rtn or gptq behind it");
            }
        }
    }
}
