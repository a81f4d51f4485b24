// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendProvider;
import java.util.List;

/// The host itself. Names no kernel class before it knows that the Vector API is there.
public final class CpuBackendProvider implements BackendProvider {
    private static final String MISSING =
            "the CPU kernels need the Vector API: pass --add-modules jdk.incubator.vector";

    @Override
    public List<Device> devices() {
        if (!hasVectorApi()) {
            return List.of(new Device("cpu", MISSING, false));
        }
        return List.of(new Device("cpu", CpuBackend.describe(), true));
    }

    @Override
    @MustBeClosed
    public Backend open(String device, BackendOptions options) {
        if (!hasVectorApi()) {
            throw new IllegalStateException(MISSING);
        }
        return new CpuBackend(options);
    }

    private static boolean hasVectorApi() {
        return ModuleLayer.boot().findModule("jdk.incubator.vector").isPresent();
    }
}
