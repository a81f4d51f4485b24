// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import com.google.errorprone.annotations.MustBeClosed;
import java.util.List;

/// Found by `ServiceLoader`, so that no module has to compile against a GPU library.
public interface BackendProvider {
    /// A device that can be opened, or the reason why not.
    ///
    /// @param name `cpu`, `cuda:0`, ...
    /// @param description what a person wants to know: model, memory, instruction sets, libraries
    /// @param usable whether [#open] will work
    record Device(String name, String description, boolean usable) {}

    /// Devices this provider knows; where it cannot work, one unusable device that says why, never
    /// an exception.
    List<Device> devices();

    /// @param device a name from [#devices]
    @MustBeClosed
    Backend open(String device, BackendOptions options);
}
