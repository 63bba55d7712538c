// SPDX-License-Identifier: Apache-2.0

import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import org.bouncycastle.asn1.ASN1Primitive;
import org.bouncycastle.cms.CMSEnvelopedData;
import org.bouncycastle.cms.Recipient;
import org.bouncycastle.cms.RecipientId;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.jcajce.JceKeyAgreeEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipientId;
import org.bouncycastle.cms.jcajce.JceKeyTransEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransRecipientId;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/**
 * Opens CMS messages by Bouncy Castle. Each line of standard input names four files with a tab
 * between them: message, private key (PKCS#8 DER), certificate, and where the content goes. One
 * line is answered: "opened", or why it was not.
 */
public class BouncyCastle {
    static PrivateKey key(String path, String kind) throws Exception {
        byte[] der = Files.readAllBytes(Path.of(path));
        return KeyFactory.getInstance(kind, "BC").generatePrivate(new PKCS8EncodedKeySpec(der));
    }

    static X509Certificate certificate(String path) throws Exception {
        try (InputStream in = Files.newInputStream(Path.of(path))) {
            return (X509Certificate) CertificateFactory.getInstance("X.509", "BC")
                    .generateCertificate(in);
        }
    }

    static byte[] open(String messagePath, String keyPath, String certificatePath)
            throws Exception {
        byte[] der = Files.readAllBytes(Path.of(messagePath));
        if (!Arrays.equals(der, ASN1Primitive.fromByteArray(der).getEncoded("DER"))) {
            throw new Exception("the message is not DER");
        }
        X509Certificate certificate = certificate(certificatePath);
        boolean ec = certificate.getPublicKey().getAlgorithm().startsWith("EC");
        RecipientId id = ec ? new JceKeyAgreeRecipientId(certificate)
                : new JceKeyTransRecipientId(certificate);
        RecipientInformation info = new CMSEnvelopedData(der).getRecipientInfos().get(id);
        if (info == null) {
            throw new Exception("the message is for somebody else");
        }
        PrivateKey key = key(keyPath, ec ? "EC" : "RSA");
        Recipient recipient = ec ? new JceKeyAgreeEnvelopedRecipient(key).setProvider("BC")
                : new JceKeyTransEnvelopedRecipient(key).setProvider("BC");
        return info.getContent(recipient);
    }

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] paths = line.split("\t");
            String answer = "opened";
            try {
                Files.write(Path.of(paths[3]), open(paths[0], paths[1], paths[2]));
            } catch (Exception problem) {
                answer = problem.toString().replace('\n', ' ');
            }
            System.out.println(answer);
        }
    }
}
