/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows' ClientCertificateInstall CSP: one Atomic of SyncML (OMA DM 1.2) that adds what belongs
 * to one PFX, under its thumbprint. The blob comes last, because adding it is what installs it.
 */
#include "payload_format.h"

#include <stdio.h>
#include "reseal/text.h"
#include "reseal/xml_text.h"

struct node_writer {
    const struct payload_options *options;
    struct buf *out;
    char thumbprint[RECORD_THUMBPRINT];
    unsigned command; /* the last CmdID */
};

static void begin_node(struct node_writer *writer, const char *name, const char *format)
{
    buf_printf(writer->out,
               "<Add><CmdID>%u</CmdID><Item>"
               "<Target><LocURI>%s/ClientCertificateInstall/PFXCertInstall/%s/%s</LocURI></Target>"
               "<Meta><Format xmlns=\"syncml:metinf\">%s</Format></Meta><Data>",
               ++writer->command, writer->options->windows.root, writer->thumbprint, name, format);
}

static void end_node(struct node_writer *writer)
{
    buf_put_text(writer->out, "</Data></Item></Add>\n");
}

static void put_text(struct node_writer *writer, const char *name, const char *format,
                     const char *text)
{
    begin_node(writer, name, format);
    xml_put_text(writer->out, text);
    end_node(writer);
}

static void put_base64(struct node_writer *writer, const char *name, struct bytes value)
{
    begin_node(writer, name, "chr");
    base64_encode(writer->out, value.data, value.len);
    end_node(writer);
}

void windows_write(const struct payload_options *options, const struct request *request,
                   struct bytes der, struct buf *out)
{
    struct node_writer writer = {.options = options, .out = out, .command = 1};
    const char *store = options->windows.device_store;
    char location[16];
    thumbprint_in_case(request, true, writer.thumbprint);
    snprintf(location, sizeof location, "%u", options->windows.key_location);
    buf_put_text(out, "<Atomic>\n<CmdID>1</CmdID>\n");
    put_text(&writer, "KeyLocation", "int", location);
    put_text(&writer, "PFXKeyExportable", "bool", options->windows.exportable ? "true" : "false");
    put_text(&writer, "PFXCertPasswordEncryptionType", "int", store == NULL ? "1" : "2");
    if (store != NULL)
        put_text(&writer, "PFXCertPasswordEncryptionStore", "chr", store);
    put_base64(&writer, "PFXCertPassword", der);
    put_base64(&writer, "PFXCertBlob", buf_bytes(&request->pfx));
    buf_put_text(out, "</Atomic>\n");
}
