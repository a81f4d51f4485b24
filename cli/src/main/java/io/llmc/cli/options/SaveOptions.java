// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.WeightLayout;
import java.util.Iterator;
import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: how a model is written.
public final class SaveOptions {
    @Option(
            names = "--layout",
            paramLabel = "NAME",
            completionCandidates = Names.class,
            description =
                    "How packed weights are spelled on disk: ${COMPLETION-CANDIDATES} (default:"
                            + " compressed-tensors).")
    private String layout;

    @Option(
            names = "--shard-size",
            paramLabel = "SIZE",
            description = "Most data in one .safetensors file, as 800M or 5G (default: 5G).")
    private String shardSize;

    boolean toDense() {
        return "dense".equals(layout);
    }

    public List<Setting> toSettings() {
        return List.of(
                new Setting("save.layout", layout, "--layout"),
                new Setting("save.shardSize", shardSize, "--shard-size"));
    }

    static final class Names implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return Layouts.WRITTEN.stream().map(WeightLayout::name).iterator();
        }
    }
}
